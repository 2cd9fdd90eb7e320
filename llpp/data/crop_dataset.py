"""Crops with their labels by key, cut out of images or taken from crops that were cut beforehand.

All that is random about a crop is a function of (seed, round, epoch, id).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from llpp.data.augmentation import NUMBERS, Augmentation, build_warp_matrices, multiply, start_at_border
from llpp.data.counter_random import draw_uniform
from llpp.data.person_crop import PersonCrop
from llpp.data.resampling import warp_image
from llpp.data.sharpening import sharpen
from llpp.datasets.base import AnyDataset
from llpp.geometry import Matrix, build_translation_matrix, build_upscale_matrix, compute_scale
from llpp.seeds import Stream, make_key, make_rng
from llpp.tasks.base import Task
from llpp.types import Batch, PlacedCrops

Item = dict[str, NDArray[np.generic]]
PixelAugmentation = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
UPRIGHT = np.eye(3)


class Mode(Enum):
    """What a crop is wanted for."""

    TRAIN = "train"  # augmented, as a function of the epoch
    EVALUATE = "evaluate"  # as it is
    IDLE = "idle"  # as it is, and its labels count nowhere: keeps a rank in step that has nothing to evaluate


class CropKey(NamedTuple):
    """Which crop, and how."""

    row: int  # of the dataset
    mode: Mode = Mode.EVALUATE
    epoch: int = 0  # in training


class CropSource(Protocol):
    """Upright crops with a border, cut beforehand."""

    crop: PersonCrop  # with the margin that they were cut with

    def get_pixels(self, row: int) -> NDArray[np.uint8]:
        """(side, side, 3) of a record; not to be written to."""

    @property
    def shapes(self) -> NDArray[np.integer[Any]]:
        """(N, 2) height and width of the image of each record."""


@dataclass(frozen=True)
class CropPipeline:
    """What happens to an image on its way to the network."""

    crop: PersonCrop
    augmentation: Augmentation
    pixel: PixelAugmentation | None = None
    cut: CropSource | None = None  # read instead of images
    resident: bool = False  # the device has the pixels of `cut` already


@dataclass(frozen=True)
class Turns:
    """What the augmentation does to B crops; tensors on one device."""

    matrices: Tensor  # (B, 3, 3) float64, pixels of the upright crop without its border → pixels of the final crop
    flipped: Tensor  # (B,) bool, whether it is mirrored


class CropDataset(Dataset[Item]):
    """Crops of a dataset's records, with the labels that a task makes of them."""

    def __init__(self, dataset: AnyDataset, task: Task, pipeline: CropPipeline, seed: int, round_number: int) -> None:
        self.dataset = dataset
        self.task = task
        self.pipeline = pipeline
        self.entropy = (seed, round_number)
        self.random_key = make_key(Stream.SAMPLE, seed, round_number)
        # Here rather than in each worker.
        self.hashes = dataset.records.id_hashes

    def __len__(self) -> int:
        return len(self.dataset.records.ids)

    def __getitem__(self, key: CropKey) -> Item:
        return {name: values[0] for name, values in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[CropKey]) -> Item:
        """A batch, stacked: (B, …) arrays. DataLoader asks for all keys of a batch at once."""
        # OpenCV's own threads would compete with the other workers.
        cv2.setNumThreads(0)
        crop = self.pipeline.crop
        rows = torch.tensor([key.row for key in keys])
        idle = torch.tensor([key.mode is Mode.IDLE for key in keys])
        turns = self._draw_for_keys(keys, rows)
        turned = turns.matrices.numpy()
        images = np.empty((len(keys), crop.side, crop.side, 3), dtype=np.uint8)
        uprights = np.empty((len(keys), 3, 3))
        for index, key in enumerate(keys):
            uprights[index] = self._cut_crop(key.row, turned[index], images[index])
            if self.pipeline.pixel and key.mode is Mode.TRAIN:
                images[index] = self.pipeline.pixel(images[index], self._make_rng(key))
        batch = self.complete(rows, torch.from_numpy(uprights), turns, idle)
        item = {name: np.asarray(values) for name, values in batch.items()}
        item["image"] = images
        return item

    def draw_turns(self, hashes: Tensor, epochs: Tensor) -> Turns:
        """Draw the augmentation of the ids with these hashes (B,) in some epochs (B,), on their device."""
        numbers = draw_uniform(self.random_key, hashes, epochs, NUMBERS)
        warps = self.pipeline.augmentation.make_warps(numbers)
        return Turns(build_warp_matrices(warps, self.pipeline.crop.size), warps.flip)

    def complete(self, rows: Tensor, uprights: Tensor, turns: Turns, idle: Tensor) -> Batch:
        """All of a batch but its pixels, on the device of its rows.

        Args:
            rows: (B,) of the dataset.
            uprights: (B, 3, 3) image pixels → pixels of the upright crop without its border.
            turns: what the augmentation does.
            idle: (B,) bool, see `PlacedCrops`.
        """
        crop = self.pipeline.crop
        matrices = multiply(turns.matrices, uprights)
        batch = dict(self.task.crop_labels(PlacedCrops(rows, matrices, turns.flipped, idle)))
        batch["row"] = rows
        batch["matrix"] = matrices.float()
        if crop.margin is not None:
            batch["warp"] = start_at_border(turns.matrices, crop.border).float()
        return batch

    def _draw_for_keys(self, keys: Sequence[CropKey], rows: Tensor) -> Turns:
        """Draw the augmentation of those that are to train on; the others stay upright."""
        augmented = torch.tensor([key.mode is Mode.TRAIN for key in keys])
        if not augmented.any():
            return keep_upright(rows)
        hashes = torch.from_numpy(self.hashes[rows.numpy()])
        turns = self.draw_turns(hashes, torch.tensor([key.epoch for key in keys]))
        matrices = turns.matrices.where(augmented[:, None, None], keep_upright(rows).matrices)
        return Turns(matrices, turns.flipped & augmented)

    def _cut_crop(self, row: int, turned: Matrix, image: NDArray[np.uint8]) -> Matrix:
        """Write the pixels of a crop into `image`; return its upright matrix, as `PersonCrop.place` does.

        With a margin the device turns the crop; here it stays upright.
        """
        box = self.dataset.records.boxes[row]
        if self.pipeline.cut is None:
            return self._cut_from_image(row, box, turned, image)
        return self._cut_from_source(self.pipeline.cut, row, box, turned, image)

    def _cut_from_image(self, row: int, box: NDArray[np.float32], turned: Matrix, image: NDArray[np.uint8]) -> Matrix:
        crop = self.pipeline.crop
        stays_upright = crop.margin is not None
        reduction = crop.compute_reduction(box, 1.0 if stays_upright else compute_scale(turned))
        source, factor = self.dataset.load_reduced(row, reduction)
        upright = crop.place(box, source.shape[:2])
        matrix = crop.add_border(upright) if stays_upright else turned @ upright
        warp_image(source, matrix @ build_upscale_matrix(factor), crop.side, image)
        return upright

    def _cut_from_source(
        self, source: CropSource, row: int, box: NDArray[np.float32], turned: Matrix, image: NDArray[np.uint8]
    ) -> Matrix:
        crop = self.pipeline.crop
        border = source.crop.border
        if crop.margin is not None:
            image[:] = source.get_pixels(row)
        elif np.array_equal(turned, UPRIGHT):
            middle = slice(border, border + crop.size)
            image[:] = source.get_pixels(row)[middle, middle]
        else:
            # These pixels are resampled for the second time; sharpening restores what that takes away.
            matrix = turned @ build_translation_matrix(-border, -border)
            warp_image(source.get_pixels(row), matrix, crop.size, image)
            sharpen(image, matrix)
        return source.crop.place(box, source.shapes[row])

    def _make_rng(self, key: CropKey) -> np.random.Generator:
        """The generator of a crop's pixel augmentation, which asks for one."""
        name = int(self.hashes[key.row]) % 2**64
        return make_rng(Stream.PIXELS, *self.entropy, key.epoch, name)


def keep_upright(rows: Tensor) -> Turns:
    """What no augmentation does to crops of `rows` (B,), on their device."""
    matrices = torch.eye(3, dtype=torch.float64, device=rows.device).repeat(len(rows), 1, 1)
    return Turns(matrices, torch.zeros_like(rows, dtype=torch.bool))


def to_tensors(batch: Item) -> Batch:
    """A stacked batch as tensors that share its memory."""
    return {name: torch.from_numpy(values) for name, values in batch.items()}
