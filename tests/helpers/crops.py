"""Crops of drawn figures."""

from collections import namedtuple

import numpy as np
from helpers.run_dirs import pose_task

from llpp.data.augmentation import Augmentation
from llpp.data.crop_dataset import CropDataset, CropKey, Mode
from llpp.data.resampling import warp_image
from llpp.datasets.synthetic.dataset import SyntheticFigures
from llpp.geometry import move_points

AUGMENTED = Augmentation(rotation=30.0, scale=0.25, shift=0.05, flip=0.5)


def figures(**counts):
    return SyntheticFigures(**{"initial": 9, "pool": 2, "val": 3, "test": 1, "size": 48, **counts})


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[k], other[k], equal_nan=np.asarray(one[k]).dtype.kind == "f") for k in one
    )


Cut = namedtuple("Cut", "image joints visible matrix warp")


def cut_person(crop, image, box, joints, visible, warp, flip_order):
    """Pixels and joints of one person, in the steps of a crop dataset.

    `warp` of a crop with a margin is left to do.
    """
    place = crop.place(box, image.shape[:2], warp)
    moved = move_points(joints, place.matrix)
    if warp.flip:
        moved, visible = moved[flip_order], visible[flip_order]
    if crop.margin is None:
        return Cut(warp_image(image, place.matrix, crop.size), moved, visible, place.matrix, None)
    return Cut(warp_image(image, place.upright, crop.side), moved, visible, place.matrix, place.turned)


def crop_dataset(dataset, pipeline, seed=0, round_number=0):
    """Crops of a dataset of poses."""
    return CropDataset(dataset, pose_task(dataset), pipeline, seed, round_number)


def train(row, epoch=0):
    """The key of a training crop."""
    return CropKey(row, Mode.TRAIN, epoch)


def evaluate(row):
    """The key of a crop for evaluation."""
    return CropKey(row)
