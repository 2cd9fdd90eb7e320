"""Read the two common JSON forms of MPII's annotations; both keep MATLAB's pixels, counted from 1.

A (`train.json`, `valid.json`): `image, center, scale, joints, joints_vis`; a joint is labelled or not, its missing
coordinates are (-1, -1) or (0, 0). B: `img_paths, objpos, scale_provided, joint_self, isValidation, people_index`;
flag 0 means occluded, and not labelled at (0, 0).
"""

import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.mpii.persons import JOINTS, REMEDY, Person, Point, check_image_name
from llpp.errors import DataError

MAX_PEOPLE_INDEX = 1000
Entry = Mapping[str, Any]


def read_form_a(entries: Sequence[Entry], source: str) -> list[Person]:
    """Read the persons of form A, numbered by their position among those of their image."""
    persons_of_image: Counter[str] = Counter()
    persons = []
    for index, entry in enumerate(entries):
        place = f"{source}, entry {index}"
        name = check_image_name(entry.get("image"), place)
        joints, visible = _read_joints_a(entry, place)
        centre = _get_centre(entry, "center", place)
        scale = _get_scale(entry, "scale", place)
        # The form writes -1 where centre and scale are missing.
        if centre is not None and centre[0] == -1:
            centre = None
            scale = None
        persons.append(Person(place, name, persons_of_image[name], joints, visible, centre, scale))
        persons_of_image[name] += 1
    return persons


def _read_joints_a(entry: Entry, place: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return joints (16, 2) and COCO's visibility (16,) of an entry of form A."""
    joints = np.zeros((len(JOINTS), 2))
    labelled = np.zeros(len(JOINTS))
    # The published test.json has no joints.
    if entry.get("joints") is not None:
        joints = _get_numbers(entry, "joints", (len(JOINTS), 2), place)
        labelled = _get_numbers(entry, "joints_vis", (len(JOINTS),), place)
        _check_flags(labelled, "joints_vis", place)
    missing = (joints == -1).all(axis=1) | (joints == 0).all(axis=1)
    visible = np.where((labelled > 0) & ~missing, 2, 0).astype(np.uint8)
    return joints, visible


def read_form_b(entries: Sequence[Entry], source: str) -> list[Person]:
    """Read the persons of form B, numbered by `people_index` as the rectangles of the official file."""
    # All persons at once: 25,000 small arrays would take several times as long.
    tables = _read_joint_tables(entries, source)
    flags = tables[..., 2]
    is_flag = np.isin(flags, (0, 1))
    missing = (tables[..., :2] == 0).all(axis=2)
    visible = np.where(missing, 0, np.where(flags > 0, 2, 1)).astype(np.uint8)

    persons_of_image: Counter[str] = Counter()
    persons = []
    for index, entry in enumerate(entries):
        place = f"{source}, entry {index}"
        name = check_image_name(entry.get("img_paths"), place)
        persons_of_image[name] += 1
        if not is_flag[index].all():
            _check_flags(flags[index], "visibility in joint_self", place)
        test = _get_number(entry, "isValidation", place)
        if test not in (0, 1):
            raise DataError(f"{place}: isValidation has {test:g}; expected 0 or 1; {REMEDY}")
        person = Person(
            place,
            name,
            _get_person_number(entry, persons_of_image[name], place),
            joints=tables[index, :, :2],
            visible=visible[index],
            centre=_get_centre(entry, "objpos", place),
            scale=_get_scale(entry, "scale_provided", place),
            test=bool(test),
        )
        persons.append(person)
    return persons


def _get_person_number(entry: Entry, position: int, place: str) -> int:
    """Return `people_index` counted from 0; without it, the position (from 1) among the persons of the image."""
    number = float(position)
    if "people_index" in entry:
        number = _get_number(entry, "people_index", place)
    if not 1 <= number <= MAX_PEOPLE_INDEX or number % 1:
        raise DataError(f"{place}: people_index is {number:g}; expected a whole number from 1; {REMEDY}")
    return int(number) - 1


def _read_joint_tables(entries: Sequence[Entry], source: str) -> NDArray[np.float64]:
    """Return all persons' x, y and flag of each joint, (N, 16, 3)."""
    shape = (len(JOINTS), 3)
    with suppress(TypeError, ValueError, OverflowError):
        tables = np.asarray([entry.get("joint_self") for entry in entries], dtype=np.float64)
        if tables.shape == (len(entries), *shape):
            return tables
    # Something is wrong: read one by one to find the entry, and to report a bad name before bad numbers.
    table_list = []
    for index, entry in enumerate(entries):
        place = f"{source}, entry {index}"
        check_image_name(entry.get("img_paths"), place)
        table_list.append(_get_numbers(entry, "joint_self", shape, place))
    return np.reshape(table_list, (-1, *shape))


def _get_numbers(entry: Entry, key: str, shape: tuple[int, ...], place: str) -> NDArray[np.float64]:
    """Return an entry's numbers; raise DataError unless they have the expected shape."""
    value = entry.get(key)
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = None
    # None itself would become a NaN of shape ().
    if numbers is None or numbers.shape != shape or value is None:
        size = " × ".join(map(str, shape))
        expected = f"{size} numbers" if shape else "a number"
        raise DataError(f"{place}: {key} is {reprlib.repr(value)}; expected {expected}; {REMEDY}")
    return numbers


def _get_number(entry: Entry, key: str, place: str) -> float:
    value = entry.get(key)
    # Nearly all values are floats already; an array for each would take most of the time.
    if type(value) is float:
        return value
    return float(_get_numbers(entry, key, (), place))


def _check_flags(values: NDArray[np.float64], what: str, place: str) -> None:
    """Raise DataError about the first value that is neither 0 nor 1."""
    wrong = values[(values != 0) & (values != 1)]
    if wrong.size:
        raise DataError(f"{place}: {what} has {wrong[0]:g}; expected 0 or 1; {REMEDY}")


def _get_centre(entry: Entry, key: str, place: str) -> Point | None:
    if entry.get(key) is None:
        return None
    x, y = _get_numbers(entry, key, (2,), place).tolist()
    return x, y


def _get_scale(entry: Entry, key: str, place: str) -> float | None:
    if entry.get(key) is None:
        return None
    return _get_number(entry, key, place)
