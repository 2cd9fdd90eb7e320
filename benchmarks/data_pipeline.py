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

from benchmarks.measure import make_parser, print_result, time_variants
from llpp.data.augmentation import Augmentation
from llpp.data.crop_cache.cache import CropCache
from llpp.data.crop_dataset import EVALUATION, CropDataset, CropPipeline, to_tensors
from llpp.data.person_crop import PersonCrop
from llpp.data.resampling import warp_image
from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.inference.performance import keep_memory
from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.types import Batch

SIZE, CELLS, BATCH, MARGIN = 256, 64, 64, 1.5
MAX_DIFFERENCE = 4.0  # grey levels between augmented crops from the cache and from images, in the mean
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

    def load_item(self, row: int) -> tuple[Tensor, Tensor]:
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
        target = draw_gaussians((joints + 0.5) / CODEC.stride - 0.5, visible)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), torch.from_numpy(target)

    def load_batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Stacked items."""
        images, targets = zip(*(self.load_item(row) for row in rows), strict=True)
        return torch.stack(images), torch.stack(targets)


def draw_gaussians(cells: NDArray[np.float64], visible: NDArray[np.uint8]) -> NDArray[np.float32]:
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


def write_large_dataset(folder: Path, dataset: LeedsSportsPose, rows: Sequence[int]) -> None:
    """Some of a dataset's images enlarged to 1280 × 720 pixels, with noise, in LSPET's layout."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    joints = np.zeros((14, 3, len(rows)))
    for i, row in enumerate(rows):
        image = dataset.load(row)
        large = cv2.resize(image, (1280, 720), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noisy = np.clip(large + rng.normal(0, 4, large.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"im{i + 1:05d}.jpg"), noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])
        joints[:, :2, i] = np.nan_to_num(dataset.records.joints[row]) * (1280 / image.shape[1], 720 / image.shape[0])
        joints[:, 2, i] = dataset.records.visible[row] > 0
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})


def make_batch_loader(
    dataset: LeedsSportsPose, margin: float | None, cache: CropCache | None = None, epoch: int = 0
) -> Callable[[Sequence[int]], Batch]:
    """Batches of llpp's worker: uint8 crops, joints, matrices."""
    cropping = CropPipeline(PersonCrop(SIZE, 1.25, margin), AUGMENTATION, cut=cache)
    data = CropDataset(dataset, dataset.get_normaliser("torso").values, cropping, 0, 0)
    return lambda rows: to_tensors(data.__getitems__([(epoch, row) for row in rows]))


def finish_batch(batch: Batch) -> tuple[Tensor, Tensor]:
    """The rest of the way on the CPU, so that both sides end with a float image and a target."""
    pixels = (batch["image"].permute(0, 3, 1, 2) / 127.5).sub_(1.0)
    return pixels, CODEC.encode(batch["joints"], batch["visible"], (CELLS, CELLS))


def warp_crop(pixels: NDArray[np.uint8]) -> object:
    """What no pipeline that resamples with OpenCV can do without: one warp of a crop with its margin."""
    turn = cv2.getRotationMatrix2D((pixels.shape[1] / 2, pixels.shape[0] / 2), 15, 1.1)
    turn[:, 2] -= (pixels.shape[1] - SIZE) / 2
    return cv2.warpAffine(pixels, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def find_usable_rows(dataset: LeedsSportsPose, most: int) -> list[int]:
    """Rows that have a box and an image."""
    known = np.isfinite(dataset.records.boxes[:, 0])
    return [row for row, path in enumerate(dataset.paths) if known[row] and path.is_file()][:most]


OUTPUTS = {
    "worker": "uint8 256 px crop; does less than the baseline: normalising and targets are left to the device",
    "device": "uint8 384 px upright crop; does less than the baseline: the warp is left to the device as well",
    "float": "float 256 px crop and target, made on the CPU: like for like",
    "cached": "as worker, from the crop cache (page cache warm), sharpened",
    "cached_device": "as device, from the crop cache",
    "cached_float": "as float, from the crop cache: like for like, but the images were decoded before",
}


def measure(dataset: LeedsSportsPose, given: argparse.Namespace, name: str, source: str, folder: Path) -> None:
    """Time all variants over the same images."""
    rows = find_usable_rows(dataset, given.images)
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    cache = CropCache(folder / f"caches{name}", dataset, PersonCrop(SIZE, 1.25, MARGIN))
    cache.open(cache.prepare(lambda _: None))
    check_cache_agreement(dataset, cache, rows, name, source)
    worker, device, plain = (
        make_batch_loader(dataset, None),
        make_batch_loader(dataset, MARGIN),
        PlainPipeline(dataset),
    )
    cached, cached_device = make_batch_loader(dataset, None, cache), make_batch_loader(dataset, MARGIN, cache)
    times = time_variants(
        {
            "worker": lambda: [worker(b) for b in batches],
            "device": lambda: [device(b) for b in batches],
            "float": lambda: [finish_batch(worker(b)) for b in batches],
            "cached": lambda: [cached(b) for b in batches],
            "cached_device": lambda: [cached_device(b) for b in batches],
            "cached_float": lambda: [finish_batch(cached(b)) for b in batches],
            "plain": lambda: [plain.load_batch(b) for b in batches],
            "warp": lambda: [warp_crop(cache.get_pixels(row)) for row in rows],
        },
        given.rounds,
    )
    limit = {"of_warp_limit": times["warp"].seconds / times["cached"].seconds}
    for variant, output in OUTPUTS.items():
        print_result(
            f"data_pipeline_{variant}{name}", len(rows) / times[variant].seconds, "images/s", PLAIN,
            times["plain"].seconds / times[variant].seconds, output=output, images=len(rows), source=source,
            like_for_like=variant == "float", plain_images_per_s=len(rows) / times["plain"].seconds, threads=1,
            **times[variant].notes, **(limit if variant == "cached" else {}),
        )  # fmt: skip


def check_cache_agreement(
    dataset: LeedsSportsPose, cache: CropCache, rows: Sequence[int], name: str, source: str
) -> None:
    """What the cache changes: nothing in evaluation, little in training; raises RuntimeError otherwise."""
    some = rows[:BATCH]
    direct, kept = (make_batch_loader(dataset, None, cut, epoch=EVALUATION)(some)["image"] for cut in (None, cache))
    if not torch.equal(direct, kept):
        raise RuntimeError("crops of evaluation differ between the cache and the images")
    direct, kept = (make_batch_loader(dataset, None, cut)(some)["image"] for cut in (None, cache))
    both = (direct.sum(dim=3) > 0) & (kept.sum(dim=3) > 0)
    difference = float((direct.float() - kept.float()).abs()[both].mean())
    if difference > MAX_DIFFERENCE:
        raise RuntimeError(f"augmented crops from the cache are {difference} grey levels off those from the images")
    print_result(
        f"data_pipeline_cache_difference{name}", difference, "grey levels of 255", source=source,
        evaluation="identical", augmentation=str(AUGMENTATION),
        detail=float(np.median(measure_sharpness(kept.numpy()) / measure_sharpness(direct.numpy()))),
        lost={str(margin): round(measure_lost_share(dataset, some, margin), 4) for margin in (1.25, 1.5, 1.75)},
    )  # fmt: skip


def measure_sharpness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Variance of each image's Laplacian in its middle, (B, H, W, 3) → (B,): of blur it loses most."""
    middle = slice(SIZE // 4, -SIZE // 4)
    grey = [cv2.cvtColor(np.ascontiguousarray(image[middle, middle]), cv2.COLOR_RGB2GRAY) for image in images]
    return np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey])


def measure_lost_share(dataset: LeedsSportsPose, rows: Sequence[int], margin: float) -> float:
    """Share of the pixels of augmented crops that show the image, but lie beyond the margin."""
    crop, rng, shares = PersonCrop(SIZE, 1.25, margin), np.random.default_rng(0), []
    for row in rows:
        white, box = np.full_like(dataset.load(row), 255), dataset.records.boxes[row]
        placed = crop.place(box, white.shape[:2], AUGMENTATION.draw(rng))
        there = warp_image(white, placed.matrix, SIZE) > 127
        kept = warp_image(crop.cut_upright(white, box), placed.turned, SIZE) > 127
        shares.append(float((there & ~kept).mean()))
    return float(np.mean(shares))


def main() -> None:
    """Measure on a given folder, or on one drawn for the purpose."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--root", type=Path, help="folder of LSP or LSPET; none: synthetic JPEGs")
    parser.add_argument("--images", type=int, default=512, help="at most so many images")
    parser.add_argument("--large", type=int, default=192, help="so many images of 1280 × 720 pixels, too")
    given = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    keep_memory()  # of which the baseline has as much as the others
    with tempfile.TemporaryDirectory() as made:
        folder, source = Path(made), "LSP-format folder given by --root"
        if not given.root:
            count = min(300, given.images)
            write_dataset(folder, count)
            source = f"{count} synthetic JPEGs of about 250 px"
        dataset = LeedsSportsPose(str(given.root or folder), val=1, test=1, box="joints")
        measure(dataset, given, "", source, folder)
        if given.large:
            write_large_dataset(folder / "large", dataset, find_usable_rows(dataset, min(given.large, given.images)))
            large = LeedsSportsPose(str(folder / "large"), val=1, test=1, box="joints")
            measure(large, given, "_720p", f"{source}, enlarged to 1280 × 720, with noise", folder)


if __name__ == "__main__":
    main()
