"""Crops of drawn figures."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import torch
from helpers.run_dirs import pose_task

from llpp.data.augmentation import Augmentation, Warps, build_warp_matrices
from llpp.data.crop_dataset import CropDataset, CropKey, CropPipeline, Mode
from llpp.datasets.base import Records
from llpp.datasets.pose import Normaliser, PoseDataset, PoseLabels, Skeleton
from llpp.datasets.synthetic.dataset import SyntheticFigures

AUGMENTED = Augmentation(rotation=30.0, scale=0.25, shift=0.05, flip=0.5)


def figures(**counts):
    return SyntheticFigures(**{"initial": 9, "pool": 2, "val": 3, "test": 1, "size": 48, **counts})


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[k], other[k], equal_nan=np.asarray(one[k]).dtype.kind == "f") for k in one
    )


Cut = namedtuple("Cut", "image joints visible matrix warp")


class OnePerson(PoseDataset):
    """A person on an image in memory; left and right joints change places as `flip_order` says."""

    name = "one"

    def __init__(self, image, box, joints, visible, flip_order):
        names = tuple(f"joint_{number}" for number in range(len(flip_order)))
        pairs = tuple((joint, other) for joint, other in enumerate(flip_order) if joint < other)
        self.image, self.skeleton = image, Skeleton(names, pairs, edges=(), torso=())
        one = Normaliser(np.ones(1, dtype=np.float32), np.zeros(1, dtype=bool), "one pixel")
        self.records = Records(
            ids=["one"],
            images=["one"],
            split=np.array(["train"]),
            boxes=np.asarray(box)[None],
            box_source="annotation",
            may_start=np.ones(1, dtype=bool),
            labels=PoseLabels(self.skeleton, joints[None], visible[None], {"one": one}),
        )

    def load(self, row):
        return self.image


@dataclass(frozen=True)
class Warp:
    """How one crop is changed, as `Warps` says it of many."""

    rotation: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False

    def repeat(self, count):
        return Warps(
            rotation=torch.full((count,), self.rotation, dtype=torch.float64),
            scale=torch.full((count,), self.scale, dtype=torch.float64),
            shift=torch.tensor([self.shift] * count, dtype=torch.float64),
            flip=torch.full((count,), self.flip),
        )

    def matrix(self, size):
        """(3, 3) from the upright crop to the changed one."""
        return build_warp_matrices(self.repeat(1), size)[0].numpy()


@dataclass(frozen=True)
class Fixed:
    """In place of an augmentation: the same warp each time."""

    warp: Warp

    def make_warps(self, numbers):
        return self.warp.repeat(numbers.shape[1])


def cut_person(crop, image, box, joints, visible, warp, flip_order):
    """Pixels and joints of one person, as a crop dataset and the pose task make them.

    `warp` of a crop with a margin is left to do.
    """
    person = OnePerson(image, box, joints, visible, flip_order)
    task = pose_task(person, normaliser="one")
    item = CropDataset(person, task, CropPipeline(crop, Fixed(warp)), seed=0, round_number=0)[train(0)]
    return Cut(item["image"], item["joints"], item["visible"], item["matrix"], item.get("warp"))


def crop_dataset(dataset, pipeline, seed=0, round_number=0):
    """Crops of a dataset of poses."""
    return CropDataset(dataset, pose_task(dataset), pipeline, seed, round_number)


def train(row, epoch=0):
    """The key of a training crop."""
    return CropKey(row, Mode.TRAIN, epoch)


def evaluate(row):
    """The key of a crop for evaluation."""
    return CropKey(row)
