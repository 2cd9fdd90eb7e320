"""Person crops by (epoch, row), out of images or of crops that were cut beforehand.

All that is random about a crop is a function of (seed, round, epoch, id).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from llpp.data.augmentation import Augmentation
from llpp.data.person_crop import PersonCrop, Placement
from llpp.data.resampling import warp_image
from llpp.data.sharpening import sharpen
from llpp.datasets.base import PoseDataset
from llpp.geometry import IDENTITY_WARP, Warp, build_upscale_matrix, compute_scale, move_points
from llpp.seeds import Stream, make_rng
from llpp.types import Batch

Item = dict[str, NDArray[np.generic]]
PixelAugmentation = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
EVALUATION = -1  # in place of an epoch: no augmentation
IDLE = -2  # likewise, and no joint counts: keeps a rank in step that has nothing to evaluate


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
    """Crops by (epoch, row); `sizes` (N,) is PCK's normaliser in image pixels."""

    def __init__(
        self, dataset: PoseDataset, sizes: NDArray[np.float32], cropping: CropPipeline, seed: int, round_number: int
    ) -> None:
        self.dataset, self.sizes, self.cropping = dataset, sizes, cropping
        self.entropy = (seed, round_number)
        self.flip_order = np.array(dataset.skeleton.flip_order)

    def __len__(self) -> int:
        return len(self.dataset.records.ids)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        return {name: values[0] for name, values in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Item:
        """A batch, stacked: (B, …) arrays. DataLoader asks for all keys of a batch at once."""
        cv2.setNumThreads(0)  # a worker's own threads would fight with the others
        records, crop = self.dataset.records, self.cropping.crop
        rows = np.array([row for _, row in keys], dtype=np.int64)
        visible = records.visible[rows]
        flipped = np.zeros(len(keys), dtype=np.bool_)
        matrices, turned = np.empty((2, len(keys), 3, 3))
        images = None
        if not self.cropping.resident:
            images = np.empty((len(keys), crop.side, crop.side, 3), dtype=np.uint8)
        for place, (epoch, row) in enumerate(keys):
            rng = self._make_rng(epoch, row) if epoch >= 0 else None
            warp = self.cropping.augmentation.draw(rng) if rng else IDENTITY_WARP
            into = None if images is None else images[place]
            placed = self._cut_crop(row, warp, into)
            if rng and self.cropping.pixel and into is not None:
                into[:] = self.cropping.pixel(into, rng)
            matrices[place], turned[place], flipped[place] = placed.matrix, placed.turned, warp.flip
            if epoch == IDLE:
                visible[place] = 0
        joints = move_points(records.joints[rows], matrices)
        joints[flipped], visible[flipped] = joints[flipped][:, self.flip_order], visible[flipped][:, self.flip_order]
        scales = np.array([compute_scale(matrix) for matrix in matrices])
        item: Item = {
            "joints": joints,
            "visible": visible,
            "row": rows,
            "matrix": matrices.astype(np.float32),
            "normaliser": (self.sizes[rows] * scales).astype(np.float32),
        }
        if images is not None:
            item["image"] = images
        if crop.margin is not None:
            item["warp"] = turned.astype(np.float32)
        return item

    def _cut_crop(self, row: int, warp: Warp, into: NDArray[np.uint8] | None) -> Placement:
        """Where the crop of `row` lies; its pixels are written `into` an array, if there is one."""
        crop, cut, box = self.cropping.crop, self.cropping.cut, self.dataset.records.boxes[row]
        if cut is None:
            direct = crop.margin is None
            image, factor = self.dataset.load_reduced(
                row, crop.compute_reduction(box, warp if direct else IDENTITY_WARP)
            )
            placed = crop.place(box, image.shape[:2], warp)
            matrix = placed.matrix if direct else placed.upright
            warp_image(image, matrix @ build_upscale_matrix(factor), crop.side, into)
            return placed
        placed = cut.crop.place(box, cut.shape(row), warp)
        if into is None:
            return placed
        if crop.margin is not None:
            into[:] = cut.get_pixels(row)
        elif warp == IDENTITY_WARP:
            middle = slice(cut.crop.border, cut.crop.border + crop.size)
            into[:] = cut.get_pixels(row)[middle, middle]
        else:
            warp_image(cut.get_pixels(row), placed.turned, crop.size, into)
            sharpen(into, placed.turned)
        return placed

    def _make_rng(self, epoch: int, row: int) -> np.random.Generator:
        name = hashlib.blake2b(self.dataset.records.ids[row].encode(), digest_size=8).digest()
        return make_rng(Stream.SAMPLE, *self.entropy, epoch, int.from_bytes(name, "big"))


def to_tensors(batch: Item) -> Batch:
    """A stacked batch as tensors that share its memory."""
    return {name: torch.from_numpy(values) for name, values in batch.items()}  # type: ignore[return-value]
