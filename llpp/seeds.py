"""Random numbers as a pure function of the run's seed and of the place in the run that uses them."""

from collections.abc import Iterable, Iterator
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The purposes of random numbers; no two purposes share their numbers."""

    START = 1  # ids labelled before round 0
    WEIGHTS = 2  # initial weights of a round
    ORDER = 3  # order of an epoch
    SAMPLE = 4  # augmentation of a round's samples
    SELECT = 5  # ties and draws of an acquisition
    MISTAKE = 6  # mistakes that are made on purpose in labels
    AUDIT = 7  # images that are drawn to measure the pool
    PIXELS = 8  # pixel augmentation of one sample
    DROP = 9  # units that a network drops


def make_rng(stream: Stream, seed: int, *place: int) -> np.random.Generator:
    """Return the generator for a place: (), (round,), (round, epoch) or (round, epoch, sample).

    The stream comes last and is never 0, because NumPy treats a key and the same key with zeros appended as equal.
    """
    words = list(_split_words((seed, *place, stream)))
    return np.random.default_rng(np.array(words, dtype=np.uint32))


def make_key(stream: Stream, seed: int, *place: int) -> int:
    """Return 64 bits for a place, as int64 has them."""
    return int(make_rng(stream, seed, *place).integers(-(2**63), 2**63, dtype=np.int64))


def _split_words(key: Iterable[int]) -> Iterator[int]:
    """Split whole numbers into words of 32 bits, the lowest first.

    NumPy does the same with a list of numbers, but takes five times as long.
    """
    for number in map(int, key):
        if number < 0:
            raise ValueError(f"{number} cannot be part of a seed; expected 0 or more")
        yield number & 0xFFFFFFFF
        while number := number >> 32:
            yield number & 0xFFFFFFFF
