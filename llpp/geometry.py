"""Affine matrices of person crops, and how they move points.

Matrices are (3, 3) and map (x, y, 1) in pixels, pixel centres at integers.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Warp:
    """One draw of the geometric augmentation; the default leaves a crop unchanged."""

    rotation: float = 0.0  # degrees, clockwise on the screen
    scale: float = 1.0  # > 1 enlarges the person
    shift: tuple[float, float] = (0.0, 0.0)  # share of the crop's side
    flip: bool = False


IDENTITY_WARP = Warp()


def build_translation_matrix(x: float, y: float) -> Matrix:
    """Build the matrix that moves points by (x, y) pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def build_upscale_matrix(factor: int) -> Matrix:
    """Build the matrix from an image of means over blocks of `factor` × `factor` pixels to the full image."""
    middle = (factor - 1) / 2
    return np.array([[factor, 0.0, middle], [0.0, factor, middle], [0.0, 0.0, 1.0]])


def build_crop_matrix(box: NDArray[np.float32], size: int, padding: float) -> Matrix:
    """Build the matrix from image pixels to a square crop of `size` pixels around `box` (x, y, width, height).

    The crop's side is the box's longer side × padding, so people keep their proportions.
    """
    x, y, width, height = box.tolist()
    scale = size / (max(width, height, 1.0) * padding)
    centre = (size - 1) / 2
    left = centre - scale * (x + width / 2)
    top = centre - scale * (y + height / 2)
    return np.array([[scale, 0.0, left], [0.0, scale, top], [0.0, 0.0, 1.0]])


def build_warp_matrix(warp: Warp, size: int) -> Matrix:
    """Build the matrix from an upright crop to the augmented one, which is turned about the crop's centre."""
    angle = math.radians(warp.rotation)
    cos = math.cos(angle) * warp.scale
    sin = math.sin(angle) * warp.scale
    mirror = -1.0 if warp.flip else 1.0
    centre = (size - 1) / 2
    x = centre + warp.shift[0] * size - (cos * mirror - sin) * centre
    y = centre + warp.shift[1] * size - (sin * mirror + cos) * centre
    return np.array([[cos * mirror, -sin, x], [sin * mirror, cos, y], [0.0, 0.0, 1.0]])


def move_points(points: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """Apply one (3, 3) matrix to (..., 2) points, or (B, 3, 3) matrices to (B, N, 2) points; NaN stays NaN."""
    shift = matrix[:2, 2] if matrix.ndim == 2 else matrix[:, None, :2, 2]
    linear = matrix[..., :2, :2].swapaxes(-1, -2)
    return (points @ linear + shift).astype(np.float32)


def compute_scale(matrix: Matrix) -> float:
    """Return the scale of a similarity: output pixels per input pixel."""
    (a, b), (c, d) = matrix[:2, :2].tolist()
    return math.sqrt(abs(a * d - b * c))
