"""Person crops by one affine matrix that composes crop, rotation, scale, shift and mirroring.

Labels with a position, such as joints, are moved by the very matrix that moves the pixels, whether those are
resampled in the worker (`warp_image`) or on the device (`resample`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.data.resampling import warp_image
from llpp.geometry import Matrix, build_crop_matrix, build_upscale_matrix
from llpp.setting_rules import check_setting


@dataclass(frozen=True)
class PersonCrop:
    """How square crops are cut around boxes.

    `margin` None resamples once, here. A number cuts an upright crop larger by that factor, which `resample`
    turns into the final one on the device; beyond the margin the result is black.
    """

    size: int = 256  # pixels
    padding: float = 1.25  # crop side / longer box side
    margin: float | None = None

    def __post_init__(self) -> None:
        check_setting("crop.padding", self.padding)
        check_setting("crop.margin", self.margin)

    @property
    def border(self) -> int:
        """Pixels of the margin on each side; whole ones, so that the middle is the crop without a margin."""
        return 0 if self.margin is None else math.ceil(self.size * (self.margin - 1) / 2)

    @property
    def side(self) -> int:
        """Pixels of the crop that is cut."""
        return self.size + 2 * self.border

    def compute_reduction(self, box: NDArray[np.float32], scale: float = 1.0) -> int:
        """By what whole factor an image may be smaller without loss to its crop, which is then enlarged by `scale`.

        1 where the box is NaN.
        """
        *_, width, height = box.tolist()
        if math.isnan(width + height):
            return 1
        return max(1, int(max(width, height, 1.0) * self.padding / (self.size * scale)))

    def place(self, box: NDArray[np.float32], shape: Sequence[int] | NDArray[np.integer[Any]]) -> Matrix:
        """(3, 3) image pixels → pixels of the upright crop around `box`, without its border.

        An image, whose `shape` is (height, width), is taken whole where the box is NaN.
        """
        matrix: Matrix = self.place_all(box[None], np.asarray(shape)[None])[0]
        return matrix

    def place_all(self, boxes: NDArray[np.float32], shapes: NDArray[np.integer[Any]]) -> Matrix:
        """The same for boxes (N, 4) in images of `shapes` (N, 2): (N, 3, 3)."""
        whole = np.full(boxes.shape, -0.5, dtype=np.float32)
        whole[:, 2:] = shapes[:, ::-1]
        has_none = np.isnan(boxes).any(axis=1, keepdims=True)
        return build_crop_matrix(np.where(has_none, whole, boxes), self.size, self.padding)

    def add_border(self, matrix: Matrix) -> Matrix:
        """Image pixels → pixels of the upright crop with its border, from what `place` returns."""
        bordered = matrix.copy()
        bordered[:2, 2] += self.border
        return bordered

    def cut_upright(self, image: NDArray[np.uint8], box: NDArray[np.float32], factor: int = 1) -> NDArray[np.uint8]:
        """(side, side, 3) with the border; the middle is the crop without a margin, bit by bit.

        `factor`: how many times smaller the image is than the box knows it.
        """
        matrix = self.place(box, image.shape[:2])
        pixels = warp_image(image, self.add_border(matrix) @ build_upscale_matrix(factor), self.side)
        if self.border:
            # Sampling places are rounded to 1/32 of a pixel, which depends on where the crop begins: so the middle
            # is sampled once more, from where a crop without a margin would begin.
            middle = slice(self.border, self.border + self.size)
            pixels[middle, middle] = warp_image(image, matrix @ build_upscale_matrix(factor), self.size)
        return pixels
