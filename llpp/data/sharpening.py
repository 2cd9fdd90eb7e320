"""Sharpening that restores what a second bilinear resampling takes from an image.

A sample at a share t of the way from one pixel to the next, (1 − t) a + t b, weakens a wave of ω radians per pixel
by t (1 − t) ω² / 2, to second order in ω; averaged over t, that is ω² / 12. The filter (−s, 1 + 2s, −s) strengthens
it by s ω². So s = 1/12 compensates the loss, and k² / 12 in a result that is enlarged k times.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from llpp.geometry import Matrix, compute_scale


def sharpen(image: NDArray[np.uint8], matrix: Matrix) -> None:
    """Sharpen (H, W, 3) in place after `matrix` (3, 3) was applied to it; not if that moved pixels onto pixels."""
    # A matrix of whole numbers (mirroring, shifts by whole pixels) interpolates nothing.
    if np.array_equal(matrix, matrix.round()):
        return
    strength = compute_scale(matrix) ** 2 / 12
    # OpenCV filters faster with a float32 kernel than with a float64 one.
    kernel = np.array([-strength, 1 + 2 * strength, -strength], dtype=np.float32)
    image[:] = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def sharpen_batch(images: Tensor, matrices: Tensor) -> Tensor:
    """Sharpen (B, C, H, W) float images in 0 … 255 likewise by their matrices (B, 3, 3), on their device."""
    interpolated = (matrices != matrices.round()).flatten(1).any(dim=1)
    first_row, second_row = matrices[:, :2, :2].unbind(1)
    a, b = first_row.unbind(1)
    c, d = second_row.unbind(1)
    area_scale = (a * d - b * c).abs()
    strength = (area_scale / 12).where(interpolated, 0.0)[:, None, None, None]
    result = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    result = result[:, :, 1:-1] * (1 + 2 * strength) - strength * (result[:, :, 2:] + result[:, :, :-2])
    result = result[..., 1:-1] * (1 + 2 * strength) - strength * (result[..., 2:] + result[..., :-2])
    return result.clamp_(0, 255)
