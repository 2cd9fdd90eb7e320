"""Images turned by quarters, from which a head learns what the network looks like when it fails.

On the images that it learns from, a network soon fails no more, and where it does, it looks otherwise than on new images.
Turned, the same images are persons in poses that it has not learnt.
"""

import torch
from torch import Tensor

TURNS = (0, 0, 0, 1, 2, 3)  # quarters of one image in successive epochs: every other time it is as it was


def turn_images(images: Tensor, quarters: Tensor) -> Tensor:
    """Turn square images (B, C, S, S) anticlockwise by (B,) int64 quarters, 0 to 3."""
    turned = torch.stack([torch.rot90(images, number, (2, 3)) for number in range(4)])
    numbers = torch.arange(len(images), device=images.device)
    return turned[quarters, numbers].contiguous(memory_format=torch.channels_last)
