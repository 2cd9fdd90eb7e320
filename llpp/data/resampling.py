"""Bilinear resampling of crops without torch; `device_resampling` does it on the device."""

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.geometry import Matrix, build_translation_matrix, build_upscale_matrix, compute_scale, move_points


def warp_image(
    image: NDArray[np.uint8], matrix: Matrix, size: int, into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Resample (H, W, 3) bilinearly to (size, size, 3), zero outside the image; `into` saves a copy.

    `matrix` (3, 3) maps pixels of the image to pixels of the result. Images shrunk more than twofold are first
    averaged by a whole factor, because bilinear sampling would alias.
    """
    factor = int(1.0 / max(compute_scale(matrix), 1e-6))
    if factor > 1:
        image, to_image = _average_blocks(image, matrix, size, factor)
        matrix = matrix @ to_image
    result = cv2.warpAffine(image, matrix[:2], (size, size), dst=into, flags=cv2.INTER_LINEAR)
    return np.asarray(result, dtype=np.uint8)


def _average_blocks(
    image: NDArray[np.uint8], matrix: Matrix, size: int, factor: int
) -> tuple[NDArray[np.uint8], Matrix]:
    """Average blocks of `factor` × `factor` pixels in the part of the image that the crop covers.

    Returns:
        The means (h, w, 3), and the matrix (3, 3) from their pixels to those of the image. The grid of blocks begins
        at the image's corner, so the means do not depend on where the crop is.
    """
    # One pixel more on each side, for bilinear sampling at the crop's edge.
    crop_corners = np.array([[-1, -1], [-1, size], [size, -1], [size, size]], dtype=np.float32)
    corners = move_points(crop_corners, np.asarray(np.linalg.inv(matrix)))
    # (columns, rows) of the grid; the last block may reach beyond the image.
    grid = [-(-side // factor) for side in image.shape[1::-1]]
    low = np.clip(np.floor(corners.min(axis=0) / factor) - 1, 0, np.array(grid) - 1)
    high = np.clip(np.ceil(corners.max(axis=0) / factor) + 1, low + 1, grid)
    left, top = low.astype(np.int64).tolist()
    right, bottom = high.astype(np.int64).tolist()
    part = image[top * factor : bottom * factor, left * factor : right * factor]
    width = (right - left) * factor
    height = (bottom - top) * factor
    # Complete the blocks at the image's edge: OpenCV averages by whole factors twice as fast.
    if part.shape[:2] != (height, width):
        missing_rows = height - part.shape[0]
        missing_columns = width - part.shape[1]
        padded = cv2.copyMakeBorder(part, 0, missing_rows, 0, missing_columns, cv2.BORDER_REPLICATE)
        part = np.asarray(padded, dtype=np.uint8)
    means = cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    to_image = build_translation_matrix(left * factor, top * factor) @ build_upscale_matrix(factor)
    return np.asarray(means, dtype=np.uint8), to_image
