"""Dropout that can be repeated: which units an image loses is a function of a key and of its row, of nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
WORD = 2**32


def find_dropout_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a network that drop units while it is trained."""
    layers: list[nn.Module] = []
    for module in network.modules():
        if isinstance(module, LAYERS) and 0 < module.p < 1:
            layers.append(module)
    return layers


@contextmanager
def dropping_units(network: nn.Module, rows: Tensor, key: int) -> Iterator[None]:
    """In evaluation, let the dropout layers of a network drop units, in one pass over the images of a batch.

    The same key drops the same units of an image, whatever the batch, the device and the number of ranks.

    Args:
        network: whose other layers, BatchNorm too, stay as they are.
        rows: (B,) int64 of the dataset; images that fill up the batch after these lose the same units as the last.
        key: of the pass, 0 to 2^32 - 1.
    """
    # A layer may be called several times in a pass.
    calls = count(1)

    def drop(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        missing = len(output) - len(rows)
        images = torch.cat([rows, rows[-1:].expand(missing)]) if missing > 0 else rows
        rate = float(layer.p)  # type: ignore[arg-type]  # it is a number in all LAYERS
        # Layers for maps drop whole maps.
        shape = output.shape if isinstance(layer, nn.Dropout) else output.shape[:2]
        kept = choose_kept(images, key + next(calls), shape[1:].numel(), rate)
        kept = kept.reshape(*shape, *[1] * (output.ndim - len(shape)))
        return output * kept.to(output.dtype) / (1 - rate)

    handles = [layer.register_forward_hook(drop) for layer in find_dropout_layers(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def choose_kept(rows: Tensor, key: int, units: int, rate: float) -> Tensor:
    """Return which units the images in some rows (B,) keep: (B, units) bool, each unit with probability 1 - rate.

    It is counted on the device: generators of torch give other numbers on other devices, and to other batches.
    """
    images = _mix(_mix(rows % WORD) + key)
    numbers = _mix(torch.arange(units, device=rows.device))
    mixed = _mix(images[:, None] + numbers)
    return mixed >= int(rate * WORD)


def _mix(values: Tensor) -> Tensor:
    """Mix the bits of int64 values; those returned, 0 to 2^32 - 1, look random (lowbias32 of Wellons)."""
    mixed = values % WORD
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        mixed = mixed ^ (mixed >> shift)
        # The product overflows, which leaves its lower bits as they are.
        mixed = (mixed * factor) & (WORD - 1)
    return mixed ^ (mixed >> 16)
