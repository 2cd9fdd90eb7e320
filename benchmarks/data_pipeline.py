"""Images per second of one worker process, from JPEG files to batches."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measure import alternate, arguments, emit
from llpp.codec import HeatmapCodec
from llpp.crops import CropDataset, Cropping, tensors
from llpp.datasets.lsp import LeedsSportsPose
from llpp.transforms import Augmentation, PersonCrop
from llpp.types import Batch

SIZE, CELLS, BATCH = 256, 64, 64
CODEC = HeatmapCodec(sigma=1.0, stride=SIZE // CELLS)
AUGMENTATION = Augmentation(rotation=20.0, scale=0.2, shift=0.05, flip=0.5)
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
PLAIN = "plain per-image pipeline, float image and target"


def write_dataset(folder: Path, count: int) -> None:
    """LSP's layout with smooth noise of about 250 pixels a side and random joints."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    joints = np.ones((14, 3, count))
    for i in range(count):
        height, width = rng.integers(200, 300, 2).tolist()
        coarse = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noisy = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"im{i + 1:05d}.jpg"), noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])
        joints[:, :2, i] = rng.uniform(0.15, 0.85, (14, 2)) * (width, height)
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})


class PlainPipeline:
    """What a short script does for each image; the device is left nothing to do but convolve."""

    def __init__(self, dataset: LeedsSportsPose) -> None:
        self.paths, self.records = dataset.paths, dataset.records
        self.flip_order = dataset.skeleton.flip_order
        self.rng = np.random.default_rng(0)

    def item(self, row: int) -> tuple[Tensor, Tensor]:
        """Float image (3, 256, 256) and target (K, 64, 64)."""
        image = cv2.cvtColor(np.asarray(cv2.imread(str(self.paths[row]))), cv2.COLOR_BGR2RGB)
        x, y, width, height = self.records.boxes[row].tolist()
        turn, grow = self.rng.uniform(-20, 20), 1.2 ** self.rng.uniform(-1, 1)
        matrix = cv2.getRotationMatrix2D(
            (x + width / 2, y + height / 2), turn, grow * SIZE / (1.25 * max(width, height))
        )
        shift = self.rng.uniform(-0.05, 0.05, 2) * SIZE + SIZE / 2 - np.array([x + width / 2, y + height / 2])
        matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + shift])
        crop = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        joints, visible = self.records.joints[row] @ matrix[:, :2].T + matrix[:, 2], self.records.visible[row]
        if self.rng.random() < 0.5:
            crop = crop[:, ::-1]
            joints = joints[self.flip_order] * (-1, 1) + (SIZE - 1, 0)
            visible = visible[self.flip_order]
        pixels = (crop.astype(np.float32) / 255 - MEAN) / STD
        target = gaussians((joints + 0.5) / CODEC.stride - 0.5, visible)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), torch.from_numpy(target)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Stacked items."""
        images, targets = zip(*(self.item(row) for row in rows), strict=True)
        return torch.stack(images), torch.stack(targets)


def gaussians(cells: NDArray[np.float64], visible: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Joint by joint, the Gaussian within three sigma."""
    target = np.zeros((len(cells), CELLS, CELLS), dtype=np.float32)
    reach = int(np.ceil(3 * CODEC.sigma))
    for joint in np.flatnonzero(visible):
        cx, cy = cells[joint]
        if not (0 <= cx < CELLS and 0 <= cy < CELLS):
            continue
        left, top = max(0, int(cx) - reach), max(0, int(cy) - reach)
        x = np.arange(left, min(CELLS, int(cx) + reach + 1))
        y = np.arange(top, min(CELLS, int(cy) + reach + 1))[:, None]
        patch = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * CODEC.sigma**2))
        target[joint, top : top + len(y), left : left + len(x)] = patch
    return target


def crops(dataset: LeedsSportsPose, margin: float | None) -> Callable[[Sequence[int]], Batch]:
    """Batches of llpp's worker: uint8 crops, joints, matrices."""
    data = CropDataset(
        dataset, dataset.body_size("torso").values, Cropping(PersonCrop(SIZE, 1.25, margin), AUGMENTATION), 0, 0
    )
    return lambda rows: tensors(data.__getitems__([(0, row) for row in rows]))


def finished(batch: Batch) -> tuple[Tensor, Tensor]:
    """The rest of the way on the CPU, so that both sides end with a float image and a target."""
    pixels = batch["image"].permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return pixels, CODEC.encode(batch["joints"], batch["visible"], (CELLS, CELLS))


def measure(root: Path, given: argparse.Namespace, source: str) -> None:
    """Time all variants over the same images."""
    dataset = LeedsSportsPose(str(root), val=1, test=1, box="joints")
    known = np.isfinite(dataset.records.boxes[:, 0])
    rows = [row for row, path in enumerate(dataset.paths) if known[row] and path.is_file()][: given.images]
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    worker, device, plain = crops(dataset, None), crops(dataset, 1.5), PlainPipeline(dataset)
    times = alternate(
        {
            "worker": lambda: [worker(b) for b in batches],
            "device": lambda: [device(b) for b in batches],
            "float": lambda: [finished(worker(b)) for b in batches],
            "plain": lambda: [plain.batch(b) for b in batches],
        },
        given.rounds,
    )
    outputs = {
        "worker": "uint8 256 px crop; does less than the baseline: normalising and targets are left to the device",
        "device": "uint8 384 px upright crop; does less than the baseline: the warp is left to the device as well",
        "float": "float 256 px crop and target, made on the CPU: like for like",
    }
    for name, output in outputs.items():
        emit(
            f"data_pipeline_{name}", len(rows) / times[name].seconds, "images/s", PLAIN,
            times["plain"].seconds / times[name].seconds, output=output, images=len(rows), source=source,
            like_for_like=name == "float", plain_images_per_s=len(rows) / times["plain"].seconds, threads=1,
            **times[name].notes,
        )  # fmt: skip


def main() -> None:
    """Measure on a given folder, or on one drawn for the purpose."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--root", type=Path, help="folder of LSP or LSPET; none: synthetic JPEGs")
    parser.add_argument("--images", type=int, default=512, help="at most so many images")
    given = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if given.root:
        measure(given.root, given, "LSP-format folder given by --root")
        return
    with tempfile.TemporaryDirectory() as folder:
        count = min(300, given.images)
        write_dataset(Path(folder), count)
        measure(Path(folder), given, f"{count} synthetic JPEGs of about 250 px")


if __name__ == "__main__":
    main()
