"""What every dataset offers: one table of person records, and pixels by row.

N records, K joints. Coordinates are (x, y) image pixels, 0-based, pixel centres at integers. Visibility is
COCO's code: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.errors import ConfigError, DataError
from llpp.ids import Ids

SPLITS = ("train", "val", "test")
COMMON_NORMALISERS = ("torso", "box")
READ_BATCH = 4096  # images that wait for a thread


@dataclass(frozen=True)
class Skeleton:
    """Joint names and their relations, as positions in `joints`."""

    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]  # left/right joints that change places in a mirrored image
    edges: tuple[tuple[int, int], ...]  # limbs to draw
    torso: tuple[tuple[int, int], ...]  # shoulder–hip diagonals, PCK's normaliser

    @property
    def flip_order(self) -> list[int]:
        """(K,) the joint that takes each position after mirroring."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order


@dataclass(frozen=True)
class Normaliser:
    """A length per person that PCK divides distances by."""

    values: NDArray[np.float32]  # (N,) image pixels; NaN where it is not defined
    estimated: NDArray[np.bool_]  # (N,) not what the metric's authors measured, but a substitute
    source: str  # in words


@dataclass(frozen=True)
class Records:
    """The annotated persons of a dataset, one per row. `ids` and `images` may be given as any sequence of strings.

    `boxes` rows are (x, y, width, height) with x, y the smallest pixel centre; NaN means the whole image.
    `joints` are NaN wherever `visible` is 0, so that unlabelled coordinates cannot count anywhere.
    """

    ids: Ids
    images: Ids  # the image a person stands in; persons of one image share a split
    split: NDArray[np.str_]  # (N,) one of SPLITS
    joints: NDArray[np.float32]  # (N, K, 2)
    visible: NDArray[np.uint8]  # (N, K)
    boxes: NDArray[np.float32]  # (N, 4)
    box_source: str  # joints | image | annotation
    initial: NDArray[np.bool_]  # (N,) may be labelled before round 0
    difficulty: NDArray[np.float32] | None = None  # (N,) known only for synthetic figures
    ground_truth_boxes: bool = field(default=False)  # boxes that a real unlabelled pool would not have
    sizes: Mapping[str, Normaliser] = field(default_factory=dict)  # by unit, beside those that every dataset has
    notes: tuple[str, ...] = ()  # what a reader of results should know: left out, missing, assumed

    def __post_init__(self) -> None:
        for name in ("ids", "images"):
            object.__setattr__(self, name, Ids(getattr(self, name)))
        count = len(self.ids)
        for name in ("images", "split", "joints", "visible", "boxes", "initial"):
            if len(getattr(self, name)) != count:
                raise DataError(f"records disagree: {count} ids but {len(getattr(self, name))} {name}")
        if (repeated := self.ids.find_duplicate()) is not None:
            raise DataError(f"sample id {repeated!r} occurs more than once; ids must be unique")
        for split in ("val", "test"):  # the few are looked up among the many
            own = self.split == split
            away = self.images.is_in(self.images.take(np.flatnonzero(own))) & ~own
            if away.any():
                row = int(away.argmax())
                raise DataError(
                    f"image {self.images[row]!r} stands in the splits {self.split[row]} and {split}; "
                    "splits never share one"
                )

    def select_rows(self, split: str, skipped: Iterable[str] = ()) -> NDArray[np.int64]:
        """Rows of a split, in dataset order, without some ids."""
        rows = np.flatnonzero(self.split == split)
        return rows[~np.isin(rows, self.ids.find_rows(skipped))]


class PoseDataset(ABC):
    """Records in memory, pixels on demand."""

    name: str
    skeleton: Skeleton
    records: Records
    paths: Sequence[Path] = ()  # (N,) image file of every record, where images are files

    @abstractmethod
    def load(self, row: int) -> NDArray[np.uint8]:
        """Pixels (H, W, 3) RGB of the image that record `row` stands in; raises DataError naming a bad file."""

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """The same image, or one of means over blocks of n × n pixels, and n ≤ `most`, if that takes less time."""
        return self.load(row), 1

    def check(self) -> None:
        """Raise DataError, saying what to do, if the images as a whole are not there; annotations alone may be."""
        return None

    def get_normaliser(self, unit: str) -> Normaliser:
        """The length of each person that PCK is to divide by: `torso`, `box`, or one of the dataset's own.

        Raises ConfigError if this dataset cannot tell it for anybody.
        """
        table = self.records
        published = np.zeros(len(table.ids), dtype=bool)
        if unit in table.sizes:
            found = table.sizes[unit]
        elif unit == "torso":
            lengths = compute_torso_lengths(table.joints, table.visible, self.skeleton.torso)
            found = Normaliser(lengths, published, "the longer shoulder–hip diagonal with both ends labelled")
        elif unit == "box":
            found = Normaliser(table.boxes[:, 2:].max(axis=1), published, "the longer side of the box")
        else:
            raise ConfigError(
                f"pck.unit={unit!r} is not known to dataset {self.name}; it has {self._list_normalisers()}"
            )
        if not np.isfinite(found.values).any():
            raise ConfigError(
                f"pck.unit={unit}: dataset {self.name} has none for any person; use {self._list_normalisers(without=unit)}"
            )
        return found

    def _list_normalisers(self, without: str = "") -> str:
        return " or ".join(unit for unit in [*self.records.sizes, *COMMON_NORMALISERS] if unit != without)

    def find_bad_images(self, rows: Iterable[int]) -> dict[int, str]:
        """Rows whose image cannot be read, with the reason. Reads every one, in threads."""

        def try_loading(row: int) -> tuple[int, str] | None:
            try:
                self.load(row)
            except DataError as error:
                return row, str(error)
            return None

        bad: dict[int, str] = {}
        waiting = iter(rows)
        with ThreadPoolExecutor() as pool:
            while some := list(islice(waiting, READ_BATCH)):
                bad.update(found for found in pool.map(try_loading, some) if found)
        return bad


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
