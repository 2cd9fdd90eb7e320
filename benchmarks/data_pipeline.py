"""Images per second of one worker process, from JPEG files to batches, without and with the crop cache."""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.codec import draw_gaussians
from benchmarks.measure import for_each, make_parser, print_result, time_variants
from benchmarks.nets import AUGMENTATION, make_pose_task
from llpp.data.augmentation import NUMBERS, build_warp_matrices, start_at_border
from llpp.data.crop_cache.cache import CropCache
from llpp.data.crop_dataset import CropDataset, CropKey, CropPipeline, Mode, to_tensors
from llpp.data.person_crop import PersonCrop
from llpp.data.resampling import warp_image
from llpp.datasets.lsp.dataset import LeedsSportsPose
from llpp.inference.performance import keep_memory
from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.types import Batch

SIZE = 256  # pixels of a crop's side
CELLS = 64  # of a heatmap's side
BATCH = 64
PADDING = 1.25
MARGIN = 1.5
CODEC = HeatmapCodec(sigma=1.0, stride=SIZE // CELLS)
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
Image = NDArray[np.uint8]


class PlainPipeline:
    """What a short script does for each image; the device is left nothing to do but convolve."""

    def __init__(self, dataset: LeedsSportsPose) -> None:
        self.paths = dataset.paths
        self.records = dataset.records
        self.flip_order = dataset.skeleton.flip_order
        self.rng = np.random.default_rng(0)

    def load_item(self, row: int) -> tuple[Tensor, Tensor]:
        """Return a float image (3, 256, 256) and its target (K, 64, 64)."""
        image = cv2.cvtColor(np.asarray(cv2.imread(str(self.paths[row]))), cv2.COLOR_BGR2RGB)
        x, y, width, height = self.records.boxes[row].tolist()
        centre = np.array([x + width / 2, y + height / 2])
        rotation = self.rng.uniform(-20, 20)
        scale = 1.2 ** self.rng.uniform(-1, 1) * SIZE / (PADDING * max(width, height))
        shift = self.rng.uniform(-0.05, 0.05, 2) * SIZE
        matrix = cv2.getRotationMatrix2D(centre.tolist(), rotation, scale)
        matrix[:, 2] += shift + SIZE / 2 - centre
        crop = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        joints = self.records.labels.joints[row] @ matrix[:, :2].T + matrix[:, 2]
        if self.rng.random() < 0.5:
            crop = crop[:, ::-1]
            joints = joints[self.flip_order] * (-1, 1) + (SIZE - 1, 0)
        pixels = (crop.astype(np.float32) / 255 - MEAN) / STD
        cells = ((joints + 0.5) / CODEC.stride - 0.5).astype(np.float32)
        target = draw_gaussians(cells, CODEC.sigma, CELLS)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), torch.from_numpy(target)

    def load_batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Stack items."""
        images, targets = zip(*(self.load_item(row) for row in rows), strict=True)
        return torch.stack(images), torch.stack(targets)


def write_dataset(folder: Path, people: Iterable[tuple[Image, NDArray[np.float64]]], noise: float) -> LeedsSportsPose:
    """Write images with noise, and joints (14, 3) as (x, y, visible), in LSPET's layout; return the dataset."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    all_joints = []
    for number, (image, joints) in enumerate(people, start=1):
        noisy = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
        path = folder / "images" / f"im{number:05d}.jpg"
        cv2.imwrite(str(path), noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])
        all_joints.append(joints)
    scipy.io.savemat(folder / "joints.mat", {"joints": np.stack(all_joints, axis=2)})
    return open_dataset(folder)


def open_dataset(folder: Path) -> LeedsSportsPose:
    """Open a folder of LSP or LSPET; boxes come from the joints."""
    return LeedsSportsPose(str(folder), val=1, test=1, box="joints")


def draw_people(count: int) -> Iterable[tuple[Image, NDArray[np.float64]]]:
    """Yield smooth images of about 250 pixels a side, and random joints."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        height, width = rng.integers(200, 300, 2).tolist()
        coarse = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        joints = np.ones((14, 3))
        joints[:, :2] = rng.uniform(0.15, 0.85, (14, 2)) * (width, height)
        yield np.asarray(image), joints


def enlarge_people(dataset: LeedsSportsPose, rows: Sequence[int]) -> Iterable[tuple[Image, NDArray[np.float64]]]:
    """Yield some of a dataset's images enlarged to 1280 × 720 pixels, and their joints."""
    for row in rows:
        image = dataset.load(row)
        joints = np.zeros((14, 3))
        joints[:, :2] = np.nan_to_num(dataset.records.labels.joints[row]) * (
            1280 / image.shape[1],
            720 / image.shape[0],
        )
        joints[:, 2] = dataset.records.labels.visible[row] > 0
        yield np.asarray(cv2.resize(image, (1280, 720), interpolation=cv2.INTER_CUBIC)), joints


def make_batch_loader(dataset: LeedsSportsPose, cache: CropCache | None = None) -> Callable[[Sequence[int]], Batch]:
    """Return what a worker of llpp does for a batch of rows: uint8 crops, joints, matrices."""
    cropping = CropPipeline(PersonCrop(SIZE, PADDING), AUGMENTATION, cut=cache)
    data = CropDataset(dataset, make_pose_task(dataset), cropping, 0, 0)
    return lambda rows: to_tensors(data.__getitems__([CropKey(row, Mode.TRAIN) for row in rows]))


def finish_batch(batch: Batch) -> tuple[Tensor, Tensor]:
    """Do the device's part on the CPU, so that both sides end with a float image and a target."""
    pixels = (batch["image"].permute(0, 3, 1, 2) / 127.5).sub_(1.0)
    return pixels, CODEC.encode(batch["joints"], batch["visible"], (CELLS, CELLS))


def warp_crop(pixels: Image) -> object:
    """Warp a crop with its margin once, which no pipeline that resamples with OpenCV can do without."""
    matrix = cv2.getRotationMatrix2D((pixels.shape[1] / 2, pixels.shape[0] / 2), 15, 1.1)
    matrix[:, 2] -= (pixels.shape[1] - SIZE) / 2
    return cv2.warpAffine(pixels, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def find_usable_rows(dataset: LeedsSportsPose, most: int) -> list[int]:
    """Return rows that have a box and an image."""
    has_box = np.isfinite(dataset.records.boxes[:, 0])
    return [row for row, path in enumerate(dataset.paths) if has_box[row] and path.is_file()][:most]


def measure(dataset: LeedsSportsPose, options: argparse.Namespace, name: str, source: str, folder: Path) -> None:
    """Time all variants over the same images."""
    rows = find_usable_rows(dataset, options.images)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    lost = measure_lost_share(dataset, batches[0], MARGIN)
    smaller_margin = measure_lost_share(dataset, batches[0], 1.25)
    detail: dict[str, Any] = {"source": source, "with_margin_1_25": smaller_margin}
    print_result(f"data_pipeline_cache_lost{name}", lost, "share of a crop", **detail)

    cache = CropCache(folder / f"caches{name}", dataset, PersonCrop(SIZE, PADDING, MARGIN))
    cache.open(cache.prepare(lambda _: None))
    load_from_images = make_batch_loader(dataset)
    variants = {
        "float": for_each(lambda batch: finish_batch(load_from_images(batch)), batches),
        "cached": for_each(make_batch_loader(dataset, cache), batches),
        "plain": for_each(PlainPipeline(dataset).load_batch, batches),
        "warp": for_each(lambda row: warp_crop(cache.get_pixels(row)), rows),
    }
    times = time_variants(variants, options.rounds)
    limits = {"float": {}, "cached": {"of_warp_limit": times["warp"].seconds / times["cached"].seconds}}
    for variant, limit in limits.items():
        seconds = times[variant].seconds
        print_result(
            f"data_pipeline_{variant}{name}", len(rows) / seconds, "images/s",
            "plain per-image pipeline, float image and target", times["plain"].seconds / seconds,
            images=len(rows), source=source, threads=1, **limit, **times[variant].notes,
        )  # fmt: skip


def measure_lost_share(dataset: LeedsSportsPose, rows: Sequence[int], margin: float) -> float:
    """Return the share of augmented crops' pixels that show the image, but are beyond the margin."""
    crop = PersonCrop(SIZE, PADDING, margin)
    numbers = torch.from_numpy(np.random.default_rng(0).random((NUMBERS, len(rows))))
    turned = build_warp_matrices(AUGMENTATION.make_warps(numbers), SIZE)
    from_border = start_at_border(turned, crop.border)
    shares = []
    for index, row in enumerate(rows):
        white = np.full_like(dataset.load(row), 255)
        box = dataset.records.boxes[row]
        upright = crop.place(box, white.shape[:2])
        shows_image = warp_image(white, turned[index].numpy() @ upright, SIZE) > 127
        within_margin = warp_image(crop.cut_upright(white, box), from_border[index].numpy(), SIZE) > 127
        shares.append(float((shows_image & ~within_margin).mean()))
    return float(np.mean(shares))


def main() -> None:
    """Measure on a given folder, or on synthetic images, and on some of them enlarged."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--root", type=Path, help="folder of LSP or LSPET; none: synthetic JPEGs")
    parser.add_argument("--images", type=int, default=512, help="at most so many images")
    parser.add_argument("--large", type=int, default=192, help="so many images of 1280 × 720 pixels as well")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    keep_memory()  # the baseline profits from it as well
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.root:
            source = "LSP-format folder given by --root"
            dataset = open_dataset(options.root)
        else:
            count = min(300, options.images)
            source = f"{count} synthetic JPEGs of about 250 px"
            dataset = write_dataset(folder / "small", draw_people(count), noise=8)
        measure(dataset, options, "", source, folder)
        rows = find_usable_rows(dataset, min(options.large, options.images))
        large = write_dataset(folder / "large", enlarge_people(dataset, rows), noise=4)
        measure(large, options, "_720p", f"{source}, enlarged to 1280 × 720, with noise", folder)


if __name__ == "__main__":
    main()
