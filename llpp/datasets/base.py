"""What every dataset offers: one table of records with their labels, and pixels by row.

N records. Coordinates are (x, y) image pixels, 0-based, pixel centres at integers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.images import AS_STORED, ImageFiles, Reading
from llpp.datasets.pixel_format import PixelFormat
from llpp.errors import DataError
from llpp.hashing import hash_ids
from llpp.ids import Ids

SPLITS = ("train", "val", "test")
READ_BATCH = 4096  # images that wait for a thread


class Labels(ABC):
    """What annotators say about N records, in the form that one kind of task learns from."""

    missing: str  # what a record without a label lacks, as in "no labelled joint"

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Channels of the network's output: one for each joint, one for each class."""

    @property
    @abstractmethod
    def is_labelled(self) -> NDArray[np.bool_]:
        """(N,) whether there is anything to learn from a record."""

    @property
    @abstractmethod
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The labels as arrays (N, …), in a fixed order: another annotation has other values."""


LabelsT = TypeVar("LabelsT", bound=Labels)


@dataclass(frozen=True)
class Records(Generic[LabelsT]):
    """The records of a dataset, one per row. `ids`, `images` and `group` may be given as any sequence of strings.

    `boxes` rows are (x, y, width, height) with x, y the smallest pixel centre; NaN means the whole image. They are
    not labels: every image is cropped around one, labelled or not, whatever the task.
    """

    ids: Ids
    images: Ids  # the image that a record shows
    split: NDArray[np.str_]  # (N,) one of SPLITS
    boxes: NDArray[np.float32]  # (N, 4)
    box_source: str  # joints | image | annotation
    may_start: NDArray[np.bool_]  # (N,) may be labelled before round 0
    labels: LabelsT
    group: Ids | None = None  # what must not stand in two splits: an image, a film, a person; None: the image
    difficulty: NDArray[np.float32] | None = None  # (N,) known only for synthetic figures
    ground_truth_boxes: bool = False  # boxes that a real unlabelled pool would not have
    notes: tuple[str, ...] = ()  # what a reader of results should know: left out, missing, assumed

    def __post_init__(self) -> None:
        for name in ("ids", "images"):
            object.__setattr__(self, name, Ids(getattr(self, name)))
        group = self.images if self.group is None else Ids(self.group)
        object.__setattr__(self, "group", group)
        count = len(self.ids)
        columns = {name: getattr(self, name) for name in ("images", "split", "boxes", "may_start", "group")}
        columns["labels"] = self.labels.is_labelled
        for name, column in columns.items():
            if len(column) != count:
                raise DataError(f"records disagree: {count} ids but {len(column)} {name}")
        repeated = self.ids.find_duplicate()
        if repeated is not None:
            raise DataError(f"sample id {repeated!r} occurs more than once; ids must be unique")
        self._check_groups(group)

    @cached_property
    def id_hashes(self) -> NDArray[np.int64]:
        """(N,) 64 bits of each id, made on first use."""
        return hash_ids(self.ids)

    def _check_groups(self, group: Ids) -> None:
        """Raise DataError if the records of one group stand in different splits."""
        kind = "image" if group == self.images else "group"
        for split in ("val", "test"):
            # The few members of a small split are looked up among all records.
            inside = self.split == split
            outside = group.is_in(group.take(np.flatnonzero(inside))) & ~inside
            if outside.any():
                row = int(outside.argmax())
                raise DataError(
                    f"{kind} {group[row]!r} stands in the splits {self.split[row]} and {split}; "
                    f"expected each {kind} in one split only: change the annotations, or `group`, if it is too wide"
                )

    def select_rows(self, split: str, skipped: Iterable[str] = ()) -> NDArray[np.int64]:
        """Rows of a split, in dataset order, without some ids."""
        rows = np.flatnonzero(self.split == split)
        return rows[~np.isin(rows, self.ids.find_rows(skipped))]


class ImageDataset(ABC, Generic[LabelsT]):
    """Records in memory, pixels on demand."""

    name: str
    records: Records[LabelsT]
    paths: Sequence[Path] = ()  # (N,) image file of every record, where images are files
    pixel_digest: str = ""  # of all pixels, where they come from a file of many images
    empty_splits: frozenset[str] = frozenset()  # that are empty on purpose, by dataset.val=0 or dataset.test=0
    pixels = PixelFormat()  # how pixels of other forms than 8-bit RGB are read
    # Whether labels and images may be others at the next start; the dataset then says itself what has become of them.
    is_live: bool = False
    new_reading = AS_STORED  # which way up files are read that are in no record
    decided: Mapping[str, Any] = MappingProxyType({})  # what settings that may be null stand for; runs keep it

    @abstractmethod
    def load(self, row: int) -> NDArray[np.uint8]:
        """Pixels (H, W, 3) RGB of the image that record `row` shows; raises DataError naming a bad file."""

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """The same image, or one of means over blocks of n × n pixels, and n ≤ `most`, if that takes less time."""
        return self.load(row), 1

    def get_reading(self, row: int) -> Reading:
        """How the image file of record `row` is read, where images are files."""
        return AS_STORED

    def get_pixel_settings(self) -> dict[str, Any]:
        """What decides the pixels of an image besides its file."""
        return self.pixels.as_settings()

    def get_file_name(self, row: int) -> str:
        """The file that record `row` shows, as a path below the dataset's folder; empty where images are no files."""
        if not self.paths:
            return ""
        if isinstance(self.paths, ImageFiles):
            return self.paths.names[row]
        return str(self.paths[row])

    def check(self) -> None:
        """Raise DataError, saying what to do, if the images as a whole are not there; annotations alone may be."""
        return None

    def find_bad_images(self, rows: Iterable[int]) -> dict[int, str]:
        """Rows whose image cannot be read, with the reason. Reads every one, in threads."""

        def try_loading(row: int) -> tuple[int, str] | None:
            try:
                problem = describe_wrong_image(self.load(row))
            except DataError as error:
                return row, str(error)
            if problem is None:
                return None
            return row, f"{type(self).__name__}.load({row}) returned {problem}"

        bad: dict[int, str] = {}
        remaining = iter(rows)
        with ThreadPoolExecutor() as pool:
            while batch := list(islice(remaining, READ_BATCH)):
                bad.update(problem for problem in pool.map(try_loading, batch) if problem)
        return bad


def describe_wrong_image(image: object) -> str | None:
    """Say what a dataset has loaded instead of pixels, and what is expected; None if they are pixels."""
    expected = "expected uint8 of shape (H, W, 3), RGB"
    if not isinstance(image, np.ndarray):
        return f"a {type(image).__name__}, {expected}"
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return None
    return f"{image.dtype} of shape {image.shape}, {expected}"


AnyDataset = ImageDataset[Any]
