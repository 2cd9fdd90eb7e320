"""What a second bilinear resampling takes from an image, put back.

A sample that lies a share t of the way from one pixel to the next, (1 − t) a + t b, weakens what turns by ω radians
per pixel by t (1 − t) ω² / 2, to second order in ω; over all t that is ω² / 12. The filter (−s, 1 + 2s, −s)
strengthens it by s ω². So s = 1/12 makes up for the loss, and k² / 12 in a result that is enlarged k times.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from llpp.geometry import Matrix, compute_scale


def sharpen(image: NDArray[np.uint8], matrix: Matrix) -> None:
    """Sharpen (H, W, 3) in place, which `matrix` (3, 3) has been applied to; not if that moved pixels onto pixels."""
    if np.array_equal(matrix, matrix.round()):
        return
    strength = compute_scale(matrix) ** 2 / 12
    kernel = np.array([-strength, 1 + 2 * strength, -strength], dtype=np.float32)  # float64 takes longer
    image[:] = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def sharpen_batch(images: Tensor, matrices: Tensor) -> Tensor:
    """The same for (B, C, H, W) float images in 0 … 255 and (B, 3, 3) matrices, on their device."""
    between = (matrices != matrices.round()).flatten(1).any(dim=1)
    (a, b), (c, d) = (row.unbind(1) for row in matrices[:, :2, :2].unbind(1))
    strength = ((a * d - b * c).abs() / 12).where(between, 0.0)[:, None, None, None]
    found = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    found = found[:, :, 1:-1] * (1 + 2 * strength) - strength * (found[:, :, 2:] + found[:, :, :-2])
    found = found[..., 1:-1] * (1 + 2 * strength) - strength * (found[..., 2:] + found[..., :-2])
    return found.clamp_(0, 255)
