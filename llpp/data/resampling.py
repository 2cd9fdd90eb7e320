"""Bilinear resampling of crops, in the worker (`warp_image`) or on the device (`resample`)."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from llpp.geometry import Matrix, build_translation_matrix, build_upscale_matrix, compute_scale, move_points


def warp_image(
    image: NDArray[np.uint8], matrix: Matrix, size: int, into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """One bilinear resampling of (H, W, 3) to (size, size, 3), zero outside the image; `into` spares a copy.

    Images shrunk more than twofold are first averaged by a whole factor, because bilinear sampling would alias.
    """
    factor = int(1.0 / max(compute_scale(matrix), 1e-6))
    if factor > 1:
        image, to_image = _average_blocks(image, matrix, size, factor)
        matrix = matrix @ to_image
    return np.asarray(
        cv2.warpAffine(image, matrix[:2], (size, size), dst=into, flags=cv2.INTER_LINEAR), dtype=np.uint8
    )


def _average_blocks(
    image: NDArray[np.uint8], matrix: Matrix, size: int, factor: int
) -> tuple[NDArray[np.uint8], Matrix]:
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
    return np.asarray(small, dtype=np.uint8), build_translation_matrix(
        left * factor, top * factor
    ) @ build_upscale_matrix(factor)


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
