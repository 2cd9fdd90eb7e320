"""Uniform numbers as a pure function of where they are used, for many places at once and on any device.

SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): output n of a
generator is its state plus n + 1 times an odd constant, mixed. So any output can be had without those before it.
"""

import torch
from torch import Tensor

# Their constants of 64 bits, as the signed numbers that int64 has for them. Sums and products of int64 drop what is
# beyond 64 bits, on every device.
INCREMENT = 0x9E3779B97F4A7C15 - 2**64
FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
SECOND_FACTOR = 0x94D049BB133111EB - 2**64
RESOLUTION = 53  # bits that float64 holds of a number below 1


def draw_uniform(key: int, hashes: Tensor, epochs: Tensor, count: int) -> Tensor:
    """Draw numbers that are independent for different ids, epochs and keys, and the same for equal ones.

    Args:
        key: of 64 bits, of the seed and the round.
        hashes: (B,) int64, of the ids.
        epochs: (B,) int64, 0 or more.
        count: how many numbers each image gets.

    Returns:
        (count, B) float64, 0 or more and below 1, on the device of the ids.
    """
    # Key and id begin a generator whose outputs, one for each epoch, begin others.
    states = compute_outputs(mix(mix(hashes) ^ key), epochs)
    numbers = torch.arange(count, device=hashes.device)[:, None]
    words = shift_right(compute_outputs(states, numbers), 64 - RESOLUTION)
    return words.double() * 2.0**-RESOLUTION


def compute_outputs(states: Tensor, numbers: Tensor) -> Tensor:
    """The outputs with these numbers, from 0, of generators that begin with these states; int64, all 64 bits."""
    return mix(states + (numbers + 1) * INCREMENT)


def mix(words: Tensor) -> Tensor:
    """Let every bit of a word decide about every bit of the result; int64."""
    words = (words ^ shift_right(words, 30)) * FIRST_FACTOR
    words = (words ^ shift_right(words, 27)) * SECOND_FACTOR
    return words ^ shift_right(words, 31)


def shift_right(words: Tensor, places: int) -> Tensor:
    """Shift and fill with zeros; `>>` alone fills with the sign."""
    rest = 2 ** (64 - places) - 1
    return torch.bitwise_and(words >> places, rest)
