"""Bilinear resampling of crops on their device."""

import torch
from torch import Tensor
from torch.nn import functional


def resample(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Resample a batch bilinearly on its device, as `warp_image` does without averaging.

    Args:
        images: (B, H, W, 3) uint8.
        matrices: (B, 3, 3) pixels of `images` → pixels of the result.
        size: side of the result, pixels.

    Returns:
        (B, 3, size, size) float32 in 0 … 255, zero outside the images.
    """
    height, width = images.shape[1:3]
    first_row, second_row, _ = matrices.double().unbind(1)
    a, b, x = first_row.unbind(1)
    c, d, y = second_row.unbind(1)
    # The inverse is written out: torch's own asks the device whether there is one, and waits for the answer.
    inverse = torch.stack([d, -b, b * y - d * x, -c, a, c * x - a * y], dim=1) / (a * d - b * c)[:, None]
    xx, xy, x0, yx, yy, y0 = inverse[:, :, None, None].unbind(1)
    pixel = torch.arange(size, device=matrices.device, dtype=torch.float32)
    column = pixel[None, None, :]
    row = pixel[None, :, None]
    # grid_sample's coordinates run from -1 to 1 between the outer edges of the outer pixels. Its companion
    # affine_grid is a product of matrices, which mixed precision rounds to bfloat16: that is half a pixel.
    u = (2 * xx / width).float() * column + (2 * xy / width).float() * row + ((2 * x0 + 1) / width - 1).float()
    v = (2 * yx / height).float() * column + (2 * yy / height).float() * row + ((2 * y0 + 1) / height - 1).float()
    grid = torch.stack([u, v], dim=-1)
    pixels = images.permute(0, 3, 1, 2).float()
    return functional.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)
