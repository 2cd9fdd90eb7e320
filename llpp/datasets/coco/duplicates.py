"""Annotations that occur more than once: in one file, or in several that list the same images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from llpp.errors import DataError
from llpp.ids import Ids

NEAR_OVERLAP = 0.9  # of two boxes: intersection over union
MAX_NEIGHBOURS = 50  # persons of an image that each one is compared with


class Annotated(Protocol):
    """What is compared of a person."""

    @property
    def id(self) -> str:
        """Of the person's record."""

    @property
    def image(self) -> str:
        """Path of the image."""

    @property
    def split(self) -> str:
        """Of the file that the person is from."""

    @property
    def joints(self) -> Sequence[tuple[float, float, int]]:
        """x, y and visibility of each; nothing for an image without a person."""

    @property
    def box(self) -> Sequence[float] | None:
        """x, y, width and height."""


Person = TypeVar("Person", bound=Annotated)


def merge_repeats(files: Iterable[tuple[Path, Sequence[Person]]]) -> tuple[list[Person], int]:
    """Return the persons of all files, each once, and how many were left out because they repeat another exactly.

    Of several with equal joints and box in one image and split, the first stays. Images without a person stay.

    Raises:
        DataError: two persons have one id and are different.
    """
    merged: list[Person] = []
    # Images in two splits are refused with all records, by a sentence of their own.
    by_image: dict[tuple[str, str], list[Person]] = {}
    first_file: dict[tuple[str, str], Path] = {}
    count = 0
    for path, persons in files:
        for person in persons:
            if not person.joints:
                merged.append(person)
                continue
            others = by_image.setdefault((person.split, person.image), [])
            if any(_is_repeat(person, other) for other in others):
                count += 1
                continue
            others.append(person)
            key = (person.split, person.id)
            if key in first_file:
                raise DataError(
                    f"{first_file[key]} and {path} both have the annotation {person.id!r} of image {person.image!r}, "
                    "with other joints or another box; leave out the file that is out of date, or, if these are two "
                    "persons, give one of them another id"
                )
            first_file[key] = path
            merged.append(person)
    return merged, count


def _is_repeat(person: Annotated, other: Annotated) -> bool:
    """Whether two annotations of an image have equal boxes and joints."""
    if person.box != other.box:
        return False
    for (x, y, code), (other_x, other_y, other_code) in zip(person.joints, other.joints, strict=True):
        # The coordinates of a joint that is not labelled mean nothing.
        if code != other_code or (code and (x, y) != (other_x, other_y)):
            return False
    return True


def count_near_repeats(images: Ids, boxes: NDArray[np.float32], joints: NDArray[np.float32]) -> int:
    """Count the pairs of persons in one image whose boxes overlap almost entirely, or whose joints are equal.

    They may be one person, twice annotated. N persons; boxes (N, 4); joints (N, K, 2), NaN where not labelled.
    """
    codes = images.assign_codes()
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    boxes = boxes[order]
    # NaN is not equal to itself.
    joints = np.nan_to_num(joints[order], nan=-1.0)
    # A box without area, or none, overlaps nothing.
    with_area = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    codes = codes[with_area]
    boxes = boxes[with_area]
    joints = joints[with_area]
    count = 0
    most = int(np.bincount(codes).max()) if len(codes) else 0
    for distance in range(1, min(most, MAX_NEIGHBOURS + 1)):
        same_image = codes[distance:] == codes[:-distance]
        overlaps = _compute_overlaps(boxes[distance:][same_image], boxes[:-distance][same_image])
        has_equal_joints = (joints[distance:][same_image] == joints[:-distance][same_image]).all(axis=(1, 2))
        count += int(((overlaps > NEAR_OVERLAP) | has_equal_joints).sum())
    return count


def _compute_overlaps(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes: (M, 4), (M, 4) → (M,)."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    shared = (high - low).clip(min=0).prod(axis=1)
    total = first[:, 2:].prod(axis=1) + second[:, 2:].prod(axis=1) - shared
    return np.asarray(shared / total, dtype=np.float32)
