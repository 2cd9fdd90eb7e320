"""Affine matrices of person crops, and how they move points.

Matrices are (3, 3) and map (x, y, 1) in pixels, pixel centres at integers.
"""

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def build_translation_matrix(x: float, y: float) -> Matrix:
    """Build the matrix that moves points by (x, y) pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def build_upscale_matrix(factor: int) -> Matrix:
    """Build the matrix from an image of means over blocks of `factor` × `factor` pixels to the full image."""
    middle = (factor - 1) / 2
    return np.array([[factor, 0.0, middle], [0.0, factor, middle], [0.0, 0.0, 1.0]])


def build_crop_matrix(box: NDArray[np.float32], size: int, padding: float) -> Matrix:
    """Build the matrix from image pixels to a square crop of `size` pixels around `box` (x, y, width, height).

    The crop's side is the box's longer side × padding, so people keep their proportions. Boxes (N, 4) give (N, 3, 3).
    """
    x, y, width, height = np.moveaxis(box.astype(np.float64), -1, 0)
    scale = size / (np.maximum(np.maximum(width, height), 1.0) * padding)
    centre = (size - 1) / 2
    matrix = np.zeros((*box.shape[:-1], 3, 3))
    matrix[..., 0, 0] = scale
    matrix[..., 1, 1] = scale
    matrix[..., 0, 2] = centre - scale * (x + width / 2)
    matrix[..., 1, 2] = centre - scale * (y + height / 2)
    matrix[..., 2, 2] = 1.0
    return matrix


def move_points(points: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """Apply one (3, 3) matrix to (..., 2) points, or (B, 3, 3) matrices to (B, N, 2) points; NaN stays NaN."""
    shift = matrix[:2, 2] if matrix.ndim == 2 else matrix[:, None, :2, 2]
    linear = matrix[..., :2, :2].swapaxes(-1, -2)
    return (points @ linear + shift).astype(np.float32)


def compute_scale(matrix: Matrix) -> float:
    """Return the scale of a similarity: output pixels per input pixel."""
    (a, b), (c, d) = matrix[:2, :2].tolist()
    return math.sqrt(abs(a * d - b * c))
