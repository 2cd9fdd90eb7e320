"""The two common JSON forms of MPII's annotations; both keep MATLAB's pixels, counted from 1.

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

Entry = Mapping[str, Any]


def read_form_a(entries: Sequence[Entry], source: str) -> list[Person]:
    """Persons of form A, numbered by their position among those of their image."""
    met: Counter[str] = Counter()
    persons = []
    for index, entry in enumerate(entries):
        place = f"{source}, entry {index}"
        name = check_image_name(entry.get("image"), place)
        joints, labelled = np.zeros((len(JOINTS), 2)), np.zeros(len(JOINTS))
        if entry.get("joints") is not None:  # the published test.json has none
            joints = _get_numbers(entry, "joints", (len(JOINTS), 2), place)
            labelled = _check_flags(_get_numbers(entry, "joints_vis", (len(JOINTS),), place), "joints_vis", place)
        missing = (joints == -1).all(axis=1) | (joints == 0).all(axis=1)
        visible = np.where((labelled > 0) & ~missing, 2, 0).astype(np.uint8)
        centre, scale = _get_centre(entry, "center", place), _get_scale(entry, "scale", place)
        if centre is not None and centre[0] == -1:  # the form's own word for "none"
            centre = scale = None
        persons.append(Person(place, name, met[name], joints, visible, centre, scale))
        met[name] += 1
    return persons


def read_form_b(entries: Sequence[Entry], source: str) -> list[Person]:
    """Persons of form B, numbered by `people_index` as the rectangles of the official file."""
    met: Counter[str] = Counter()
    persons = []
    tables = _read_joint_tables(entries, source)
    sound = np.isin(tables[..., 2], (0, 1))
    there = np.where((tables[..., :2] == 0).all(axis=2), 0, np.where(tables[..., 2] > 0, 2, 1)).astype(np.uint8)
    for index, (entry, table, visible) in enumerate(zip(entries, tables, there, strict=True)):
        place = f"{source}, entry {index}"
        name = check_image_name(entry.get("img_paths"), place)
        met[name] += 1
        if not sound[index].all():
            _check_flags(table[:, 2], "visibility in joint_self", place)
        test = _get_number(entry, "isValidation", place)
        if test not in (0, 1):
            raise DataError(f"{place}: isValidation has {test:g}; expected 0 or 1; {REMEDY}")
        number = _get_number(entry, "people_index", place) if "people_index" in entry else float(met[name])
        if not 1 <= number <= 1000 or number % 1:
            raise DataError(f"{place}: people_index is {number:g}; expected a whole number from 1; {REMEDY}")
        centre, scale = _get_centre(entry, "objpos", place), _get_scale(entry, "scale_provided", place)
        persons.append(Person(place, name, int(number) - 1, table[:, :2], visible, centre, scale, test=bool(test)))
    return persons


def _read_joint_tables(entries: Sequence[Entry], source: str) -> NDArray[np.float64]:
    """All persons' x, y and flag of each joint, (N, K, 3)."""
    shape = len(JOINTS), 3
    with suppress(TypeError, ValueError, OverflowError):
        found = np.asarray([entry.get("joint_self") for entry in entries], dtype=np.float64)
        if found.shape == (len(entries), *shape):
            return found
    each = []
    for index, entry in enumerate(entries):  # one by one, to tell what is wrong where
        place = f"{source}, entry {index}"
        check_image_name(entry.get("img_paths"), place)
        each.append(_get_numbers(entry, "joint_self", shape, place))
    return np.reshape(each, (-1, *shape))


def _get_numbers(entry: Entry, key: str, shape: tuple[int, ...], place: str) -> NDArray[np.float64]:
    """An entry's numbers in the shape they must have."""
    value = entry.get(key)
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or found.shape != shape or value is None:
        size = " × ".join(map(str, shape)) + " numbers" if shape else "a number"
        raise DataError(f"{place}: {key} is {reprlib.repr(value)}; expected {size}; {REMEDY}")
    return found


def _get_number(entry: Entry, key: str, place: str) -> float:
    value = entry.get(key)
    return value if type(value) is float else float(_get_numbers(entry, key, (), place))


def _check_flags(values: NDArray[np.float64], what: str, place: str) -> NDArray[np.float64]:
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise DataError(f"{place}: {what} has {np.atleast_1d(values)[wrong.ravel()][0]:g}; expected 0 or 1; {REMEDY}")
    return values


def _get_centre(entry: Entry, key: str, place: str) -> Point | None:
    if entry.get(key) is None:
        return None
    x, y = _get_numbers(entry, key, (2,), place).tolist()
    return x, y


def _get_scale(entry: Entry, key: str, place: str) -> float | None:
    return None if entry.get(key) is None else _get_number(entry, key, place)
