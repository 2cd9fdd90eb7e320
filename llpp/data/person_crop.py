"""Person crops by one affine matrix that composes crop, rotation, scale, shift and mirroring.

Labels with a position, such as joints, are moved by the very matrix that moves the pixels, whether those are
resampled in the worker (`warp_image`) or on the device (`resample`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.data.resampling import warp_image
from llpp.geometry import (
    IDENTITY_WARP,
    Matrix,
    Warp,
    build_crop_matrix,
    build_upscale_matrix,
    build_warp_matrix,
)
from llpp.setting_rules import check_setting


@dataclass(frozen=True)
class Placement:
    """Where the pixels of one crop come from and where they go."""

    matrix: Matrix  # image pixels → pixels of the final crop
    upright: Matrix  # image pixels → pixels of the upright crop with its border
    turned: Matrix  # pixels of the upright crop with its border → pixels of the final crop


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

    def compute_reduction(self, box: NDArray[np.float32], warp: Warp = IDENTITY_WARP) -> int:
        """By what whole factor an image may be smaller without loss to its crop; 1 where the box is NaN."""
        *_, width, height = box.tolist()
        if math.isnan(width + height):
            return 1
        return max(1, int(max(width, height, 1.0) * self.padding / (self.size * warp.scale)))

    def place(self, box: NDArray[np.float32], shape: tuple[int, int], warp: Warp) -> Placement:
        """Around `box` in an image of `shape` (height, width), which is taken whole where the box is NaN."""
        if np.isnan(box).any():
            box = np.array([-0.5, -0.5, shape[1], shape[0]], dtype=np.float32)
        upright = build_crop_matrix(box, self.size, self.padding)
        turned = build_warp_matrix(warp, self.size)
        matrix = turned @ upright
        if self.border:
            upright = upright.copy()
            turned = turned.copy()
            upright[:2, 2] += self.border
            turned[:2, 2] -= turned[:2, :2].sum(axis=1) * self.border
        return Placement(matrix, upright, turned)

    def cut_upright(self, image: NDArray[np.uint8], box: NDArray[np.float32], factor: int = 1) -> NDArray[np.uint8]:
        """(side, side, 3) with the border; the middle is the crop without a margin, bit by bit.

        `factor`: how many times smaller the image is than the box knows it.
        """
        place = self.place(box, image.shape[:2], IDENTITY_WARP)
        pixels = warp_image(image, place.upright @ build_upscale_matrix(factor), self.side)
        if self.border:
            # Sampling places are rounded to 1/32 of a pixel, which depends on where the crop begins: so the middle
            # is sampled once more, from where a crop without a margin would begin.
            middle = slice(self.border, self.border + self.size)
            pixels[middle, middle] = warp_image(image, place.matrix @ build_upscale_matrix(factor), self.size)
        return pixels
