"""Datasets of poses: skeletons, joints, and the lengths that PCK divides by.

N records, K joints. Visibility is COCO's code: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import ImageDataset, Labels
from llpp.errors import ConfigError, DataError

COMMON_NORMALISERS = ("torso", "box")


@dataclass(frozen=True)
class Skeleton:
    """Joint names and their relations, as positions in `joints`."""

    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]  # left/right joints that change places in a mirrored image
    edges: tuple[tuple[int, int], ...]  # limbs to draw
    torso: tuple[tuple[int, int], ...]  # shoulder–hip diagonals, PCK's normaliser
    unpaired: tuple[int, ...] = ()  # joints that look like a left or right one, but whose partner is not known

    @property
    def flip_order(self) -> list[int]:
        """(K,) the joint that takes each position after mirroring."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left] = right
            order[right] = left
        return order


@dataclass(frozen=True)
class Normaliser:
    """A length per person that PCK divides distances by."""

    values: NDArray[np.float32]  # (N,) image pixels; NaN where it is not defined
    estimated: NDArray[np.bool_]  # (N,) not what the metric's authors measured, but a substitute
    source: str  # in words


@dataclass(frozen=True)
class PoseLabels(Labels):
    """Joints of N persons; NaN wherever `visible` is 0, so that unlabelled coordinates cannot count anywhere."""

    skeleton: Skeleton
    joints: NDArray[np.float32]  # (N, K, 2) image pixels
    visible: NDArray[np.uint8]  # (N, K)
    normalisers: Mapping[str, Normaliser] = field(default_factory=dict)  # by name, besides those of every dataset
    missing = "no labelled joint"

    def __post_init__(self) -> None:
        if len(self.joints) != len(self.visible):
            raise DataError(
                f"labels disagree: joints of {len(self.joints)} records, visibility of {len(self.visible)}"
            )

    @property
    def outputs(self) -> int:
        """See `Labels.outputs`."""
        return len(self.skeleton.joints)

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """See `Labels.is_labelled`."""
        return np.asarray((self.visible > 0).any(axis=1), dtype=np.bool_)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """See `Labels.arrays`."""
        return (self.joints, self.visible)


class PoseDataset(ImageDataset[PoseLabels]):
    """A dataset whose labels are joints."""

    skeleton: Skeleton
    has_chosen_pairs: bool = False  # whether its left–right pairs are read from names, or given by a setting

    def get_normaliser(self, name: str) -> Normaliser:
        """The length of each person that PCK divides by: `torso`, `box`, or one of the dataset's own.

        Raises ConfigError if this dataset has it for no person.
        """
        labels = self.records.labels
        measured = np.zeros(len(labels.joints), dtype=bool)
        if name in labels.normalisers:
            found = labels.normalisers[name]
        elif name == "torso":
            lengths = compute_torso_lengths(labels.joints, labels.visible, labels.skeleton.torso)
            found = Normaliser(lengths, measured, "the longer shoulder–hip diagonal with both ends labelled")
        elif name == "box":
            longer_sides = self.records.boxes[:, 2:].max(axis=1)
            found = Normaliser(longer_sides, measured, "the longer side of the box")
        else:
            raise ConfigError(
                f"pck.normaliser={name!r} is not known to dataset {self.name}; it has {self._list_normalisers()}"
            )
        if not np.isfinite(found.values).any():
            others = self._list_normalisers(without=name)
            raise ConfigError(f"pck.normaliser={name}: dataset {self.name} has none for any person; use {others}")
        return found

    def _list_normalisers(self, without: str = "") -> str:
        names = [*self.records.labels.normalisers, *COMMON_NORMALISERS]
        return " or ".join(name for name in names if name != without)


def compute_torso_lengths(
    joints: NDArray[np.float32], visible: NDArray[np.uint8], diagonals: Sequence[tuple[int, int]]
) -> NDArray[np.float32]:
    """Longest shoulder–hip diagonal whose two ends are labelled: (N, K, 2), (N, K) → (N,); NaN without one.

    The published code also measures diagonals to unlabelled joints, whose coordinates are meaningless.
    """
    longest = np.full(len(joints), np.nan, dtype=np.float32)
    for a, b in diagonals:
        length = np.linalg.norm(joints[:, a] - joints[:, b], axis=-1)
        valid = (visible[:, a] > 0) & (visible[:, b] > 0) & (length > 0)
        longest = np.where(valid, np.fmax(longest, length), longest).astype(np.float32)
    return longest


def compute_joint_boxes(joints: NDArray[np.float32], visible: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Hulls of the labelled joints as (x, y, width, height): (N, K, 2), (N, K) → (N, 4); NaN without any."""
    known = (visible > 0)[..., None]
    low = np.where(known, joints, np.inf).min(axis=1)
    high = np.where(known, joints, -np.inf).max(axis=1)
    boxes = np.concatenate([low, high - low], axis=1).astype(np.float32)
    boxes[~np.isfinite(boxes).all(axis=1)] = np.nan
    return boxes


LSP_JOINTS = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist",
    "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist", "neck", "head_top",
)  # fmt: skip
LSP_SKELETON = Skeleton(
    joints=LSP_JOINTS,
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
    edges=(
        (0, 1), (1, 2), (3, 4), (4, 5), (2, 3), (2, 8), (3, 9),
        (6, 7), (7, 8), (9, 10), (10, 11), (8, 12), (9, 12), (12, 13),
    ),
    torso=((9, 2), (8, 3)),
)  # fmt: skip
