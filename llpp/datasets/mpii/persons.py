"""The persons of MPII's annotations, the same for every form of them: checked, with pixels counted from 0."""

import reprlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llpp.errors import DataError

# In the order of MPII's joint ids.
JOINTS = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "upper_neck", "head_top",
    "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip
NECK = JOINTS.index("upper_neck")
HEAD_TOP = JOINTS.index("head_top")
REMEDY = "take the file from its source again, or set dataset.annotations=… to another"
MAX_COORDINATE = 1e5  # pixels: no photograph is as wide
EXPECTED_PIXELS = f"pixels of at most {MAX_COORDINATE:g}"
MAX_SCALE = 1e3  # 200 px of body height; the largest published scale is 25
MAX_NAME_LENGTH = 255  # characters of an image's name

Point = tuple[float, float]


class Person(NamedTuple):
    """One annotated person as a file has it: MATLAB's pixels, counted from 1."""

    place: str  # file and entry, for messages
    image: str
    number: int  # among the persons of the image
    joints: NDArray[np.float64]  # (16, 2)
    visible: NDArray[np.uint8]  # (16,) COCO's code
    centre: Point | None  # `objpos`
    scale: float | None  # body height / 200 px
    head: float = np.nan  # diagonal of the head rectangle, pixels
    test: bool | None = None  # of the usual validation split; None: the file does not say


class Persons(NamedTuple):
    """N persons, 0-based pixels; NaN where a value is missing."""

    images: tuple[str, ...]
    numbers: NDArray[np.int64]  # (N,)
    joints: NDArray[np.float64]  # (N, 16, 2)
    visible: NDArray[np.uint8]  # (N, 16)
    centre: NDArray[np.float64]  # (N, 2)
    scale: NDArray[np.float64]  # (N,)
    head: NDArray[np.float64]  # (N,)
    test: NDArray[np.bool_] | None  # (N,)

    def keep_rows(self, kept: NDArray[np.bool_]) -> "Persons":
        """Return only the persons marked in `kept` (N,)."""
        images = tuple(self.images[row] for row in np.flatnonzero(kept).tolist())
        test = self.test
        if test is not None:
            test = test[kept]
        return Persons(
            images=images,
            numbers=self.numbers[kept],
            joints=self.joints[kept],
            visible=self.visible[kept],
            centre=self.centre[kept],
            scale=self.scale[kept],
            head=self.head[kept],
            test=test,
        )


def build_persons(persons: Sequence[Person], source: str) -> Persons:
    """Check persons and return them as one table, in the same order, counted from pixel 0.

    Raises:
        DataError: there are no persons, or one has an impossible coordinate, scale or head size; it names the first.
    """
    if not persons:
        raise DataError(f"{source} holds no persons; {REMEDY}")
    # Each field of the persons as a column of N values.
    _, images, numbers, joint_rows, visible_rows, centres, scales, heads, tests = zip(*persons, strict=True)
    joints = np.stack(joint_rows)
    visible = np.stack(visible_rows)
    centre = np.array([point or (np.nan, np.nan) for point in centres])
    scale = np.array(scales, dtype=np.float64)  # None becomes NaN
    head = np.array(heads)
    labelled = visible > 0
    _check_values(persons, joints, labelled, centre, scale, head)
    return Persons(
        images=images,
        numbers=np.array(numbers, dtype=np.int64),
        joints=np.where(labelled[..., None], joints - 1, np.nan),
        visible=visible,
        centre=centre - 1,
        scale=scale,
        head=np.where(head > 0, head, np.nan),
        test=None if None in tests else np.array(tests, dtype=bool),
    )


def _check_values(
    persons: Sequence[Person],
    joints: NDArray[np.float64],
    labelled: NDArray[np.bool_],
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    head: NDArray[np.float64],
) -> None:
    """Raise DataError about the first impossible joint (N, 16, 2), centre (N, 2), scale (N,) or head size (N,)."""

    def describe_joint(row: int, joint: int) -> str:
        return f"{JOINTS[joint]} at {_format_point(joints[row, joint])}"

    def describe_centre(row: int, _: int) -> str:
        return f"a centre at {_format_point(centre[row])}"

    def describe_scale(row: int, _: int) -> str:
        return f"scale {scale[row]:g}"

    def describe_head(row: int, _: int) -> str:
        return f"a head rectangle with diagonal {head[row]:g}"

    # A person may lack centre or scale, but a NaN in the file is an error.
    has_centre = np.array([person.centre is not None for person in persons])
    has_scale = np.array([person.scale is not None for person in persons])
    wrong_joints = labelled & ~_is_plausible(joints)
    wrong_centre = has_centre & ~_is_plausible(centre)
    wrong_scale = has_scale & ~((scale > 0) & (scale <= MAX_SCALE))
    wrong_head = np.isinf(head) | (head > MAX_COORDINATE)
    _refuse_first(persons, wrong_joints, describe_joint, EXPECTED_PIXELS)
    _refuse_first(persons, wrong_centre[:, None], describe_centre, EXPECTED_PIXELS)
    _refuse_first(persons, wrong_scale[:, None], describe_scale, f"a number above 0 and up to {MAX_SCALE:g}")
    _refuse_first(persons, wrong_head[:, None], describe_head, EXPECTED_PIXELS)


def _refuse_first(
    persons: Sequence[Person], wrong: NDArray[np.bool_], describe: Callable[[int, int], str], expected: str
) -> None:
    """Raise DataError about the first true cell of (N, …), in the words of `describe(row, column)`."""
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        person = persons[row]
        raise DataError(
            f"{person.place}: person {person.number} of {person.image!r} has {describe(row, column)}; expected "
            f"{expected}; {REMEDY}"
        )


def check_image_name(name: object, place: str) -> str:
    """Return the image's name if it is a plain file name.

    Raises:
        DataError: it is no text that can name a file, or names a file in another folder.
    """
    example = f"expected a plain file name such as '015601864.jpg'; {REMEDY}"
    if not isinstance(name, str) or not _is_possible_name(name):
        raise DataError(f"{place}: the image's name is {reprlib.repr(name)}; {example}")
    if "/" in name or "\\" in name or ":" in name:
        raise DataError(f"{place}: image name {reprlib.repr(name)} leads out of the folder of images; {example}")
    return name


def _is_possible_name(name: str) -> bool:
    return name.isprintable() and 0 < len(name) <= MAX_NAME_LENGTH and name not in (".", "..")


def measure_head_segments(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure the distance from upper neck to head top: (N, 16, 2) → (N,)."""
    length: NDArray[np.float64] = np.linalg.norm(joints[:, HEAD_TOP] - joints[:, NECK], axis=-1)
    return length


def _is_plausible(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Check that points (…, 2) can be pixels; they may be outside the image, but NaN cannot."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(points) <= MAX_COORDINATE).all(axis=-1))


def _format_point(point: NDArray[np.float64]) -> str:
    return f"({point[0]:g}, {point[1]:g})"
