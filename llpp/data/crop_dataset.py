"""Crops with their labels by key, cut out of images or taken from crops that were cut beforehand.

All that is random about a crop is a function of (seed, round, epoch, id).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from llpp.data.augmentation import Augmentation
from llpp.data.person_crop import PersonCrop, Placement
from llpp.data.resampling import warp_image
from llpp.data.sharpening import sharpen
from llpp.datasets.base import AnyDataset
from llpp.geometry import IDENTITY_WARP, Warp, build_upscale_matrix
from llpp.seeds import Stream, make_rng
from llpp.tasks.base import Task
from llpp.types import Batch, PlacedCrops

Item = dict[str, NDArray[np.generic]]
PixelAugmentation = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


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

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width) of its image."""


@dataclass(frozen=True)
class CropPipeline:
    """What happens to an image on its way to the network."""

    crop: PersonCrop
    augmentation: Augmentation
    pixel: PixelAugmentation | None = None
    cut: CropSource | None = None  # read instead of images
    resident: bool = False  # the device has the pixels of `cut` already


class CropDataset(Dataset[Item]):
    """Crops of a dataset's records, with the labels that a task makes of them."""

    def __init__(self, dataset: AnyDataset, task: Task, pipeline: CropPipeline, seed: int, round_number: int) -> None:
        self.dataset = dataset
        self.task = task
        self.pipeline = pipeline
        self.entropy = (seed, round_number)

    def __len__(self) -> int:
        return len(self.dataset.records.ids)

    def __getitem__(self, key: CropKey) -> Item:
        return {name: values[0] for name, values in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[CropKey]) -> Item:
        """A batch, stacked: (B, …) arrays. DataLoader asks for all keys of a batch at once."""
        # OpenCV's own threads would compete with the other workers.
        cv2.setNumThreads(0)
        crop = self.pipeline.crop
        count = len(keys)
        rows = np.array([key.row for key in keys], dtype=np.int64)
        idle = np.array([key.mode is Mode.IDLE for key in keys], dtype=np.bool_)
        flipped = np.zeros(count, dtype=np.bool_)
        matrices = np.empty((count, 3, 3))
        warps = np.empty((count, 3, 3))
        images = None
        if not self.pipeline.resident:
            images = np.empty((count, crop.side, crop.side, 3), dtype=np.uint8)
        for index, key in enumerate(keys):
            image = None if images is None else images[index]
            warp, placement = self._make_crop(key, image)
            matrices[index] = placement.matrix
            warps[index] = placement.turned
            flipped[index] = warp.flip
        item: Item = dict(self.task.crop_labels(PlacedCrops(rows, matrices, flipped, idle)))
        item["row"] = rows
        item["matrix"] = matrices.astype(np.float32)
        if images is not None:
            item["image"] = images
        if crop.margin is not None:
            item["warp"] = warps.astype(np.float32)
        return item

    def _make_crop(self, key: CropKey, image: NDArray[np.uint8] | None) -> tuple[Warp, Placement]:
        """Draw the augmentation of a crop and write its pixels into `image`, if there is one."""
        if key.mode is not Mode.TRAIN:
            return IDENTITY_WARP, self._cut_crop(key.row, IDENTITY_WARP, image)
        rng = self._make_rng(key.epoch, key.row)
        warp = self.pipeline.augmentation.draw(rng)
        placement = self._cut_crop(key.row, warp, image)
        if self.pipeline.pixel and image is not None:
            image[:] = self.pipeline.pixel(image, rng)
        return warp, placement

    def _cut_crop(self, row: int, warp: Warp, image: NDArray[np.uint8] | None) -> Placement:
        """Say where the crop of `row` is; write its pixels into `image`, if there is one."""
        box = self.dataset.records.boxes[row]
        if self.pipeline.cut is None:
            return self._cut_from_image(row, box, warp, image)
        return self._cut_from_source(self.pipeline.cut, row, box, warp, image)

    def _cut_from_image(
        self, row: int, box: NDArray[np.float32], warp: Warp, image: NDArray[np.uint8] | None
    ) -> Placement:
        crop = self.pipeline.crop
        # With a margin the device applies the warp; here the crop stays upright.
        upright = crop.margin is not None
        reduction = crop.compute_reduction(box, IDENTITY_WARP if upright else warp)
        source, factor = self.dataset.load_reduced(row, reduction)
        placement = crop.place(box, source.shape[:2], warp)
        matrix = placement.upright if upright else placement.matrix
        warp_image(source, matrix @ build_upscale_matrix(factor), crop.side, image)
        return placement

    def _cut_from_source(
        self, source: CropSource, row: int, box: NDArray[np.float32], warp: Warp, image: NDArray[np.uint8] | None
    ) -> Placement:
        crop = self.pipeline.crop
        placement = source.crop.place(box, source.shape(row), warp)
        if image is None:
            return placement
        if crop.margin is not None:
            image[:] = source.get_pixels(row)
        elif warp == IDENTITY_WARP:
            middle = slice(source.crop.border, source.crop.border + crop.size)
            image[:] = source.get_pixels(row)[middle, middle]
        else:
            # These pixels are resampled for the second time; sharpening restores what that takes away.
            warp_image(source.get_pixels(row), placement.turned, crop.size, image)
            sharpen(image, placement.turned)
        return placement

    def _make_rng(self, epoch: int, row: int) -> np.random.Generator:
        name = hashlib.blake2b(self.dataset.records.ids[row].encode(), digest_size=8).digest()
        return make_rng(Stream.SAMPLE, *self.entropy, epoch, int.from_bytes(name, "big"))


def to_tensors(batch: Item) -> Batch:
    """A stacked batch as tensors that share its memory."""
    return {name: torch.from_numpy(values) for name, values in batch.items()}
