"""Images turned by quarters, from which a head learns what the network looks like when it fails.

A network soon fails no more on the images that it learns from. Turned, the same images show persons in poses that it
has not learnt, and its heatmaps look as they do on new images that it fails on.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

UPRIGHT_EPOCHS = 3  # of so many epochs an image is as it was; in the next three it is turned by 1, 2 and 3 quarters


def choose_quarters(rows: Tensor, epoch: int) -> Tensor:
    """By how many quarters the images in these rows (B,) of the dataset are turned in an epoch: (B,) int64, 0 to 3.

    Half of the time an image is as it was, and about half of the images of a batch are.
    """
    place = (rows + epoch) % (UPRIGHT_EPOCHS + 3)
    # Counted on the device: a table of turns would have to be sent there in each step, and the host would wait.
    return (place - UPRIGHT_EPOCHS + 1).clamp(min=0)


def turn_images(images: Tensor, quarters: Tensor) -> Tensor:
    """Turn square images (B, C, S, S) anticlockwise by (B,) int64 quarters, 0 to 3."""
    turned = images
    for number in range(1, 4):
        chosen = (quarters == number)[:, None, None, None]
        turned = torch.where(chosen, torch.rot90(images, number, (2, 3)), turned)
    return turned.contiguous(memory_format=torch.channels_last)


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """Set a network to evaluation, then each of its parts back to what it was: some may be in evaluation for good."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
