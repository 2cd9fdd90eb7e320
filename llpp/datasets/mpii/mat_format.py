"""MPII's MATLAB files: the official annotations, and the head boxes that go with the common JSON files.

What MATLAB writes for one and the same field: a number, a string, a struct, an array of them, [] or nothing at all.
"""

import math
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from llpp.datasets.isolated_reader import read_in_subprocess
from llpp.datasets.mpii.persons import JOINTS, REMEDY, Person, check_image_name
from llpp.errors import DataError

MAX_JOINT_OFFSET = 2.0  # pixels between two files' coordinates of one joint


def load_mat(path: Path, name: str) -> Any:
    """Variable `name` with singleton dimensions removed; None if the file has none of that name."""
    try:
        return scipy.io.loadmat(path, variable_names=[name], struct_as_record=False, squeeze_me=True).get(name)
    except MemoryError:
        raise  # `read_apart` says why
    except Exception as error:  # loadmat raises whatever its parser meets in a damaged file
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read ({reason}); it is truncated or no MATLAB 5 file: {REMEDY}") from error


def read_official(path: Path) -> tuple[list[Person], list[str]]:
    """The persons of `mpii_human_pose_v1_u12_1.mat` whose image is a training one, and what was left out.

    A person's number is the position of its rectangle in the image, which JSON B calls `people_index`.
    """
    release = load_mat(path, "RELEASE")
    images = _list_structs(getattr(release, "annolist", None))
    training = np.atleast_1d(np.asarray(getattr(release, "img_train", ())))
    if not images or training.shape != (len(images),):
        raise DataError(
            f"{path}: RELEASE has {len(images)} images in annolist and {training.size} flags in img_train; expected "
            f"one flag for each of at least one image; {REMEDY}"
        )
    persons: list[Person] = []
    without = 0
    for index, (entry, flag) in enumerate(zip(images, training.tolist(), strict=True)):
        place = f"{path.name}, annolist({index + 1})"
        if _parse_number(flag, f"{place}: img_train") != 1:
            continue
        name = check_image_name(getattr(getattr(entry, "image", None), "name", None), place)
        found = list(_read_persons(_list_structs(getattr(entry, "annorect", None)), name, place))
        without += not found
        persons += found
    notes = [f"{count:,} {what} left out" for count, what in (
        (len(images) - int((training == 1).sum()), "published test images, which have no joints,"),
        (without, "training images without annotated persons"),
    ) if count]  # fmt: skip
    return persons, notes


def _read_persons(rects: Sequence[Any], name: str, place: str) -> Iterator[Person]:
    for number, rect in enumerate(rects):
        points = _list_structs(getattr(getattr(rect, "annopoints", None), "point", None))
        if not points:
            continue
        joints, visible = np.zeros((len(JOINTS), 2)), np.zeros(len(JOINTS), dtype=np.uint8)
        for point in points:
            where = f"{place}, rectangle {number + 1}: a joint's"
            x, y, joint = (_parse_number(getattr(point, key, None), f"{where} {key}") for key in ("x", "y", "id"))
            if joint is None or joint not in range(len(JOINTS)):
                raise DataError(f"{where} id is {joint}; expected 0 to {len(JOINTS) - 1}; {REMEDY}")
            if x is None or y is None:
                continue
            seen = _parse_number(getattr(point, "is_visible", None), f"{where} is_visible")
            if seen not in (None, 0, 1):
                raise DataError(f"{where} is_visible is {seen:g}; expected 0, 1 or nothing; {REMEDY}")
            joints[int(joint)], visible[int(joint)] = (x, y), 1 if seen == 0 else 2
        where = f"{place}, rectangle {number + 1}:"
        position = getattr(rect, "objpos", None)
        x, y = (_parse_number(getattr(position, key, None), f"{where} objpos.{key}") for key in ("x", "y"))
        scale = _parse_number(getattr(rect, "scale", None), f"{where} scale")
        sides = (_parse_number(getattr(rect, key, None), f"{where} {key}") for key in ("x1", "y1", "x2", "y2"))
        left, top, right, bottom = (math.nan if side is None else side for side in sides)
        head = math.hypot(right - left, bottom - top)
        yield Person(place, name, number, joints, visible, None if x is None or y is None else (x, y), scale, head)


def add_head_sizes(persons: Sequence[Person], path: Path) -> list[Person]:
    """Persons of `valid.json` with the head sizes of `gt_valid.mat`, whose rows must be the same persons."""
    boxes, truth, missing = read_in_subprocess(read_head_boxes, path)
    count = len(persons)
    shapes = [table.shape for table in (boxes, truth, missing)]
    if shapes != [(2, 2, count), (len(JOINTS), 2, count), (len(JOINTS), count)]:
        raise DataError(
            f"{path} holds headboxes_src, pos_gt_src and jnt_missing of shapes {shapes}; expected those of the "
            f"{count} persons in valid.json: (2, 2, {count}), (16, 2, {count}) and (16, {count}); remove it or take "
            "both files from one source"
        )
    joints = np.stack([p.joints for p in persons])
    both = (np.stack([p.visible for p in persons]) > 0) & (missing.T == 0)
    away = np.abs(joints - truth.transpose(2, 0, 1)).max(axis=2)
    wrong = (both & ~(away <= MAX_JOINT_OFFSET)).any(axis=1)
    if wrong.any():
        person = persons[int(wrong.argmax())]
        raise DataError(
            f"{path} does not belong to valid.json: joints of {person.image!r}, person {int(wrong.argmax()) + 1}, "
            f"differ by more than {MAX_JOINT_OFFSET:g} pixels; remove it or take both files from one source"
        )
    heads = np.linalg.norm(boxes[1] - boxes[0], axis=0)
    return [p._replace(head=float(head)) for p, head in zip(persons, heads, strict=True)]


def read_head_boxes(path: Path) -> tuple[NDArray[np.float64], ...]:
    """(2, 2, N) corners, (16, 2, N) joints and (16, N) missing ones of `gt_valid.mat`."""
    return tuple(_load_array(path, name) for name in ("headboxes_src", "pos_gt_src", "jnt_missing"))


def _load_array(path: Path, name: str) -> NDArray[np.float64]:
    """A numeric variable; one person's table keeps its last dimension."""
    found = load_mat(path, name)
    try:
        values = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} has no numbers in {name}; remove it or take it from its source again") from error
    return values[..., None] if values.shape in ((2, 2), (len(JOINTS), 2), (len(JOINTS),)) else values


def _list_structs(value: Any) -> list[Any]:
    """The structs of a field that holds none, one or an array."""
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    return [] if value is None else [value]


def _parse_number(value: Any, what: str) -> float | None:
    """A field's number, also out of a string or an array of one; None if it is missing or empty."""
    if isinstance(value, float | int):
        return float(value)
    if isinstance(value, np.ndarray) and value.size <= 1:
        return _parse_number(value.item(), what) if value.size else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{what} is {reprlib.repr(value)}; expected a number; {REMEDY}") from error
