"""Read MPII's MATLAB files: the official annotations, and the head boxes that go with the common JSON files.

MATLAB writes one and the same field as a number, a string, a struct, an array of them, [] or not at all.
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
from llpp.datasets.mpii.persons import JOINTS, REMEDY, Person, Point, check_image_name
from llpp.errors import DataError

MAX_JOINT_OFFSET = 2.0  # pixels between two files' coordinates of one joint


def load_mat(path: Path, name: str) -> Any:
    """Load variable `name` with singleton dimensions removed; None if the file has no such variable."""
    try:
        content = scipy.io.loadmat(path, variable_names=[name], struct_as_record=False, squeeze_me=True)
    except MemoryError:
        # `read_in_subprocess` explains it.
        raise
    except Exception as error:
        # loadmat raises whatever its parser meets in a damaged file.
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read ({reason}); it is truncated or no MATLAB 5 file: {REMEDY}") from error
    return content.get(name)


def read_official(path: Path) -> tuple[list[Person], list[str]]:
    """Read the persons in the training images of `mpii_human_pose_v1_u12_1.mat`, and notes on those left out.

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
    empty_count = 0
    for index, (image, flag) in enumerate(zip(images, training.tolist(), strict=True)):
        place = f"{path.name}, annolist({index + 1})"
        if _parse_number(flag, f"{place}: img_train") != 1:
            continue
        name = check_image_name(_get_nested(image, "image", "name"), place)
        rectangles = _list_structs(_get_field(image, "annorect"))
        image_persons = list(_read_persons(rectangles, name, place))
        if not image_persons:
            empty_count += 1
        persons += image_persons

    notes = []
    test_count = len(images) - int((training == 1).sum())
    if test_count:
        notes.append(f"{test_count:,} published test images, which have no joints, left out")
    if empty_count:
        notes.append(f"{empty_count:,} training images without annotated persons left out")
    return persons, notes


def _read_persons(rectangles: Sequence[Any], image: str, place: str) -> Iterator[Person]:
    """Yield the persons of an image whose rectangle has joints."""
    for number, rectangle in enumerate(rectangles):
        points = _list_structs(_get_nested(rectangle, "annopoints", "point"))
        if not points:
            continue
        rectangle_place = f"{place}, rectangle {number + 1}:"
        joints, visible = _read_joints(points, rectangle_place)
        centre = _read_centre(rectangle, rectangle_place)
        scale = _parse_number(_get_field(rectangle, "scale"), f"{rectangle_place} scale")
        head = _read_head_diagonal(rectangle, rectangle_place)
        yield Person(place, image, number, joints, visible, centre, scale, head)


def _read_joints(points: Sequence[Any], place: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return joints (16, 2) and COCO's visibility (16,); joints that are not listed have visibility 0."""
    joints = np.zeros((len(JOINTS), 2))
    visible = np.zeros(len(JOINTS), dtype=np.uint8)
    for point in points:
        what = f"{place} a joint's"
        x = _parse_number(_get_field(point, "x"), f"{what} x")
        y = _parse_number(_get_field(point, "y"), f"{what} y")
        joint = _parse_number(_get_field(point, "id"), f"{what} id")
        if joint is None or joint not in range(len(JOINTS)):
            raise DataError(f"{what} id is {joint}; expected 0 to {len(JOINTS) - 1}; {REMEDY}")
        if x is None or y is None:
            continue
        flag = _parse_number(_get_field(point, "is_visible"), f"{what} is_visible")
        if flag not in (None, 0, 1):
            raise DataError(f"{what} is_visible is {flag:g}; expected 0, 1 or nothing; {REMEDY}")
        joints[int(joint)] = (x, y)
        # Head points have no flag; they count as visible.
        visible[int(joint)] = 1 if flag == 0 else 2
    return joints, visible


def _read_centre(rectangle: Any, place: str) -> Point | None:
    position = _get_field(rectangle, "objpos")
    x = _parse_number(_get_field(position, "x"), f"{place} objpos.x")
    y = _parse_number(_get_field(position, "y"), f"{place} objpos.y")
    if x is None or y is None:
        return None
    return x, y


def _read_head_diagonal(rectangle: Any, place: str) -> float:
    """Return the diagonal of the head rectangle in pixels; NaN if a side is missing."""
    sides = []
    for key in ("x1", "y1", "x2", "y2"):
        side = _parse_number(_get_field(rectangle, key), f"{place} {key}")
        sides.append(math.nan if side is None else side)
    left, top, right, bottom = sides
    return math.hypot(right - left, bottom - top)


def add_head_sizes(persons: Sequence[Person], path: Path) -> list[Person]:
    """Return the persons of `valid.json` with the head sizes of `gt_valid.mat`.

    Raises:
        DataError: the rows of `gt_valid.mat` are not the same persons.
    """
    boxes, truth, missing = read_in_subprocess(read_head_boxes, path)
    count = len(persons)
    shapes = [boxes.shape, truth.shape, missing.shape]
    if shapes != [(2, 2, count), (len(JOINTS), 2, count), (len(JOINTS), count)]:
        raise DataError(
            f"{path} holds headboxes_src, pos_gt_src and jnt_missing of shapes {shapes}; expected those of the "
            f"{count} persons in valid.json: (2, 2, {count}), (16, 2, {count}) and (16, {count}); remove it or take "
            "both files from one source"
        )
    joints = np.stack([person.joints for person in persons])
    visible = np.stack([person.visible for person in persons])
    in_both = (visible > 0) & (missing.T == 0)
    offset = np.abs(joints - truth.transpose(2, 0, 1)).max(axis=2)
    # A NaN fails the comparison too.
    differs = (in_both & ~(offset <= MAX_JOINT_OFFSET)).any(axis=1)
    if differs.any():
        row = int(differs.argmax())
        raise DataError(
            f"{path} does not belong to valid.json: joints of {persons[row].image!r}, person {row + 1}, "
            f"differ by more than {MAX_JOINT_OFFSET:g} pixels; remove it or take both files from one source"
        )
    heads = np.linalg.norm(boxes[1] - boxes[0], axis=0)
    return [person._replace(head=float(head)) for person, head in zip(persons, heads, strict=True)]


def read_head_boxes(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Read (2, 2, N) corners, (16, 2, N) joints and (16, N) flags of missing ones from `gt_valid.mat`."""
    boxes = _load_array(path, "headboxes_src")
    joints = _load_array(path, "pos_gt_src")
    missing = _load_array(path, "jnt_missing")
    return boxes, joints, missing


def _load_array(path: Path, name: str) -> NDArray[np.float64]:
    """Load a numeric variable whose last dimension is the persons."""
    variable = load_mat(path, name)
    try:
        values = np.asarray(variable, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} has no numbers in {name}; remove it or take it from its source again") from error
    # With a single person, loading has removed the last dimension.
    if values.shape in ((2, 2), (len(JOINTS), 2), (len(JOINTS),)):
        return values[..., None]
    return values


def _get_field(struct: Any, key: str) -> Any:
    """Return a field of a struct; None if it is missing, or `struct` is no struct."""
    return getattr(struct, key, None)


def _get_nested(struct: Any, key: str, nested_key: str) -> Any:
    return _get_field(_get_field(struct, key), nested_key)


def _list_structs(value: Any) -> list[Any]:
    """Return the structs of a field that holds none, one or an array of them."""
    if value is None:
        return []
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    return [value]


def _parse_number(value: Any, what: str) -> float | None:
    """Return a field's number, also from a string or an array of one; None if it is missing or empty."""
    if isinstance(value, float | int):
        return float(value)
    if isinstance(value, np.ndarray) and value.size == 0:
        return None
    if isinstance(value, np.ndarray) and value.size == 1:
        return _parse_number(value.item(), what)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{what} is {reprlib.repr(value)}; expected a number; {REMEDY}") from error
