"""Time to make batches of resident crops, everything but their pixels, for an epoch of 2,048 images on one thread."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import make_parser, print_result, time_variants
from benchmarks.nets import AUGMENTATION, NoiseDataset, make_pose_task
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.person_crop import PersonCrop
from llpp.settings import LoaderSettings

COUNT = 2048
SIZE = 64
CROP = PersonCrop(SIZE, 1.25, 1.5)


class Shapes:
    """In place of a crop cache: what is known of its images without their pixels."""

    crop = CROP
    shapes = np.full((COUNT, 2), SIZE)

    def get_pixels(self, row: int) -> NDArray[np.uint8]:
        """See `CropSource`."""
        return np.zeros((CROP.side, CROP.side, 3), dtype=np.uint8)


def draw_one_by_one(dataset: NoiseDataset) -> None:
    """Do the same image by image, with a seeded generator each, as pipelines do that must not depend on workers."""
    centre = (SIZE - 1) / 2
    upright = CROP.place(np.full(4, np.nan, dtype=np.float32), (SIZE, SIZE))
    for row in range(COUNT):
        rng = np.random.default_rng((0, 0, 0, row))
        rotation, log_scale, dx, dy = rng.uniform(-1, 1, 4).tolist()
        angle = math.radians(rotation * AUGMENTATION.rotation)
        scale = (1 + AUGMENTATION.scale) ** log_scale
        mirror = -1 if rng.random() < AUGMENTATION.flip else 1
        a = scale * math.cos(angle)
        b = scale * math.sin(angle)
        x = centre + dx * AUGMENTATION.shift * SIZE - (a * mirror - b) * centre
        y = centre + dy * AUGMENTATION.shift * SIZE - (b * mirror + a) * centre
        matrix = np.array([[a * mirror, -b, x], [b * mirror, a, y], [0, 0, 1]]) @ upright
        dataset.records.labels.joints[row] @ matrix[:2, :2].T + matrix[:2, 2]


def main() -> None:
    """Measure batches of 32 and 64 images."""
    rounds = make_parser(__doc__, rounds=9).parse_args().rounds
    torch.set_num_threads(1)
    dataset = NoiseDataset(COUNT, SIZE)
    pipeline = CropPipeline(CROP, AUGMENTATION, None, Shapes(), resident=True)
    for batch in (32, 64):
        data = PoolDataModule(
            dataset, make_pose_task(dataset), range(COUNT), [], pipeline, LoaderSettings(batch, batch), 0, 0
        )
        loader = data.train_dataloader()
        variants: dict[str, Callable[[], object]] = {
            "resident": partial(list, loader),
            "plain": partial(draw_one_by_one, dataset),
        }
        times = time_variants(variants, rounds)
        seconds = times["resident"].seconds
        print_result(
            f"augmentation_resident_{batch}", 1e6 * seconds / COUNT, "µs/image",
            "a seeded generator, a matrix and joints image by image", times["plain"].seconds / seconds,
            images=COUNT, batch=batch, threads=1, **times["resident"].notes,
        )  # fmt: skip


if __name__ == "__main__":
    main()
