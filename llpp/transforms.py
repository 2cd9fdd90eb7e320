"""Person crops by one affine matrix that composes crop, rotation, scale, shift and mirroring.

Joints move by the very matrix that moves the pixels, whether those are resampled in the worker (`warp_image`) or on
the device (`resample`).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from llpp.geometry import (
    UPRIGHT,
    Matrix,
    Warp,
    crop_matrix,
    enlarged,
    move_joints,
    move_points,
    scale_of,
    translation,
    warp_matrix,
)
from llpp.rules import check


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which warps are drawn."""

    rotation: float = 0.0  # degrees, uniform in ±rotation
    scale: float = 0.0  # log-uniform in 1 / (1 + scale) … 1 + scale
    shift: float = 0.0  # share of the crop's side, uniform in ±shift on each axis
    flip: float = 0.0  # probability of mirroring

    def __post_init__(self) -> None:
        for name in ("rotation", "scale", "shift", "flip"):
            check(f"augmentation.{name}", getattr(self, name))

    def draw(self, rng: np.random.Generator) -> Warp:
        """A warp; equal generators give equal warps."""
        turn, size, dx, dy = rng.uniform(-1.0, 1.0, size=4).tolist()
        return Warp(
            rotation=turn * self.rotation,
            scale=float((1.0 + self.scale) ** size),
            shift=(dx * self.shift, dy * self.shift),
            flip=bool(rng.random() < self.flip),
        )


def warp_image(
    image: NDArray[np.uint8], matrix: Matrix, size: int, into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """One bilinear resampling of (H, W, 3) to (size, size, 3), zero outside the image; `into` spares a copy.

    Images shrunk more than twofold are first averaged by a whole factor, because bilinear sampling would alias.
    """
    factor = int(1.0 / max(scale_of(matrix), 1e-6))
    if factor > 1:
        image, to_image = _averaged(image, matrix, size, factor)
        matrix = matrix @ to_image
    return np.asarray(
        cv2.warpAffine(image, matrix[:2], (size, size), dst=into, flags=cv2.INTER_LINEAR), dtype=np.uint8
    )


def _averaged(image: NDArray[np.uint8], matrix: Matrix, size: int, factor: int) -> tuple[NDArray[np.uint8], Matrix]:
    """Means of blocks of `factor` × `factor` pixels where a crop lies, and (3, 3) their pixels → those of the image.

    `matrix` maps the image's pixels to the crop's. The grid of blocks begins at the image's corner, whatever is cut.
    """
    corners = np.array([[x, y] for x in (-1, size) for y in (-1, size)], dtype=np.float32)
    corners = move_points(corners, np.asarray(np.linalg.inv(matrix)))
    blocks = [-(-side // factor) for side in image.shape[1::-1]]
    low = np.clip(np.floor(corners.min(axis=0) / factor) - 1, 0, np.array(blocks) - 1)
    high = np.clip(np.ceil(corners.max(axis=0) / factor) + 1, low + 1, blocks)
    (left, top), (right, bottom) = low.astype(np.int64).tolist(), high.astype(np.int64).tolist()
    part = image[top * factor : bottom * factor, left * factor : right * factor]
    shape = ((right - left) * factor, (bottom - top) * factor)  # averaging by whole factors is twice as fast
    if part.shape[1::-1] != shape:
        missing = shape[1] - part.shape[0], shape[0] - part.shape[1]
        part = np.asarray(
            cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE), dtype=np.uint8
        )
    small = cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), translation(left * factor, top * factor) @ enlarged(factor)


def resample(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """The same resampling for a batch on its device.

    Args:
        images: (B, H, W, 3) uint8.
        matrices: (B, 3, 3) pixels of `images` → pixels of the result.
        size: side of the result, pixels.

    Returns:
        (B, 3, size, size) float32 in 0 … 255, zero outside the images.
    """
    height, width = images.shape[1:3]
    (a, b, x), (c, d, y), _ = (row.unbind(1) for row in matrices.double().unbind(1))
    # written out: torch's own inverse asks the device whether there is one, and waits for its answer
    inverse = torch.stack([d, -b, b * y - d * x, -c, a, c * x - a * y], dim=1) / (a * d - b * c)[:, None]
    xx, xy, x0, yx, yy, y0 = inverse[:, :, None, None].unbind(1)
    places = torch.arange(size, device=matrices.device, dtype=torch.float32)
    across, down = places[None, None, :], places[None, :, None]
    # grid_sample's coordinates run from -1 to 1 between the outer edges of the outer pixels. Its companion
    # affine_grid is a product of matrices, which mixed precision rounds to bfloat16: that is half a pixel
    u = (2 * xx / width).float() * across + (2 * xy / width).float() * down + ((2 * x0 + 1) / width - 1).float()
    v = (2 * yx / height).float() * across + (2 * yy / height).float() * down + ((2 * y0 + 1) / height - 1).float()
    grid = torch.stack([u, v], dim=-1)
    pixels = images.permute(0, 3, 1, 2).float()
    return functional.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)


@dataclass(frozen=True)
class Crop:
    """Pixels and joints of one person."""

    image: NDArray[np.uint8]  # (side, side, 3)
    joints: NDArray[np.float32]  # (K, 2) pixels of the final crop
    visible: NDArray[np.uint8]  # (K,)
    matrix: Matrix  # image pixels → pixels of the final crop
    warp: Matrix | None  # pixels of `image` → pixels of the final crop, if the device is to resample


@dataclass(frozen=True)
class Placement:
    """Where the pixels of one person come from and where they go."""

    matrix: Matrix  # image pixels → pixels of the final crop
    upright: Matrix  # image pixels → pixels of the upright crop with its border
    turned: Matrix  # pixels of the upright crop with its border → pixels of the final crop


@dataclass(frozen=True)
class PersonCrop:
    """Cut a square person crop and move its joints along.

    `margin` None resamples once, here. A number cuts an upright crop larger by that factor, which `resample`
    turns into the final one on the device; beyond the margin the result is black.
    """

    size: int = 256  # pixels
    padding: float = 1.25  # crop side / longer box side
    margin: float | None = None

    def __post_init__(self) -> None:
        check("crop.padding", self.padding)
        check("crop.margin", self.margin)

    @property
    def border(self) -> int:
        """Pixels of the margin on each side; whole ones, so that the middle is the crop without a margin."""
        return 0 if self.margin is None else math.ceil(self.size * (self.margin - 1) / 2)

    @property
    def side(self) -> int:
        """Pixels of the crop that is cut."""
        return self.size + 2 * self.border

    def reduction(self, box: NDArray[np.float32], warp: Warp = UPRIGHT) -> int:
        """By what whole factor an image may be smaller without loss to its crop; 1 where the box is NaN."""
        *_, width, height = box.tolist()
        if math.isnan(width + height):
            return 1
        return max(1, int(max(width, height, 1.0) * self.padding / (self.size * warp.scale)))

    def place(self, box: NDArray[np.float32], shape: tuple[int, int], warp: Warp) -> Placement:
        """Around `box` in an image of `shape` (height, width), which is taken whole where the box is NaN."""
        if np.isnan(box).any():
            box = np.array([-0.5, -0.5, shape[1], shape[0]], dtype=np.float32)
        upright, turned = crop_matrix(box, self.size, self.padding), warp_matrix(warp, self.size)
        matrix = turned @ upright
        if self.border:
            upright, turned = upright.copy(), turned.copy()
            upright[:2, 2] += self.border
            turned[:2, 2] -= turned[:2, :2].sum(axis=1) * self.border
        return Placement(matrix, upright, turned)

    def upright(self, image: NDArray[np.uint8], box: NDArray[np.float32], factor: int = 1) -> NDArray[np.uint8]:
        """(side, side, 3) with the border; the middle is the crop without a margin, bit by bit.

        `factor`: how many times smaller the image is than the box knows it.
        """
        place = self.place(box, image.shape[:2], UPRIGHT)
        pixels = warp_image(image, place.upright @ enlarged(factor), self.side)
        if self.border:  # sampling places are rounded to 1/32 pixel, otherwise where the origin lies elsewhere
            middle = slice(self.border, self.border + self.size)
            pixels[middle, middle] = warp_image(image, place.matrix @ enlarged(factor), self.size)
        return pixels

    def __call__(
        self,
        image: NDArray[np.uint8],
        box: NDArray[np.float32],
        joints: NDArray[np.float32],
        visible: NDArray[np.uint8],
        warp: Warp,
        flip_order: list[int],
    ) -> Crop:
        """Crop `image` (H, W, 3) around `box`, or take it whole where the box is NaN."""
        place = self.place(box, image.shape[:2], warp)
        joints, visible = move_joints(joints, visible, place.matrix, flip_order if warp.flip else None)
        if self.margin is None:
            return Crop(warp_image(image, place.matrix, self.size), joints, visible, place.matrix, None)
        return Crop(warp_image(image, place.upright, self.side), joints, visible, place.matrix, place.turned)
