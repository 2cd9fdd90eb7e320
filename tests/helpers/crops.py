"""Crops of drawn figures."""

import numpy as np

from llpp.data.augmentation import Augmentation
from llpp.datasets.synthetic.dataset import SyntheticFigures

AUGMENTED = Augmentation(rotation=30.0, scale=0.25, shift=0.05, flip=0.5)


def figures(**counts):
    return SyntheticFigures(**{"initial": 9, "pool": 2, "val": 3, "test": 1, "size": 48, **counts})


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[k], other[k], equal_nan=np.asarray(one[k]).dtype.kind == "f") for k in one
    )
