"""MPII's persons as every form of the annotations tells them, checked and counted from pixel 0."""

import reprlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llpp.errors import DataError

# in the order of MPII's joint ids
JOINTS = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "upper_neck", "head_top",
    "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip
NECK, HEAD_TOP = JOINTS.index("upper_neck"), JOINTS.index("head_top")
REMEDY = "take the file from its source again, or set dataset.annotations=… to another"
MAX_COORDINATE = 1e5  # pixels: no photograph is as wide
EXPECTED_PIXELS = f"pixels of at most {MAX_COORDINATE:g}"
MAX_SCALE = 1e3  # 200 px of body height; the largest published scale is 25


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
    """N persons, 0-based pixels; NaN where there is nothing."""

    images: tuple[str, ...]
    numbers: NDArray[np.int64]  # (N,)
    joints: NDArray[np.float64]  # (N, 16, 2)
    visible: NDArray[np.uint8]  # (N, 16)
    centre: NDArray[np.float64]  # (N, 2)
    scale: NDArray[np.float64]  # (N,)
    head: NDArray[np.float64]  # (N,)
    test: NDArray[np.bool_] | None  # (N,)

    def keep_rows(self, kept: NDArray[np.bool_]) -> "Persons":
        """Only the persons marked in `kept` (N,)."""
        images = tuple(image for image, keep in zip(self.images, kept.tolist(), strict=True) if keep)
        return Persons(images, *(None if column is None else column[kept] for column in self[1:]))  # type: ignore[arg-type]


def build_persons(persons: Sequence[Person], source: str) -> Persons:
    """Persons in the order given; raises DataError naming the first whose numbers cannot be meant."""
    if not persons:
        raise DataError(f"{source} holds no persons; {REMEDY}")
    joints, visible = np.stack([p.joints for p in persons]), np.stack([p.visible for p in persons])
    centre = np.array([p.centre or (np.nan, np.nan) for p in persons])
    scale = np.array([np.nan if p.scale is None else p.scale for p in persons])
    head = np.array([p.head for p in persons])
    _refuse(
        persons, (visible > 0) & ~_is_plausible(joints), lambda n, j: f"{JOINTS[j]} at {_format_point(joints[n, j])}"
    )
    given = np.array([p.centre is not None for p in persons])
    _refuse(
        persons, (given & ~_is_plausible(centre))[:, None], lambda n, _: f"a centre at {_format_point(centre[n])}"
    )
    given = np.array([p.scale is not None for p in persons])
    absurd = given & ~((scale > 0) & (scale <= MAX_SCALE))
    _refuse(persons, absurd[:, None], lambda n, _: f"scale {scale[n]:g}", f"a number above 0 and up to {MAX_SCALE:g}")
    absurd = np.isinf(head) | (head > MAX_COORDINATE)
    _refuse(persons, absurd[:, None], lambda n, _: f"a head rectangle with diagonal {head[n]:g}")
    flags = [p.test for p in persons]
    return Persons(
        images=tuple(p.image for p in persons),
        numbers=np.array([p.number for p in persons], dtype=np.int64),
        joints=np.where((visible > 0)[..., None], joints - 1, np.nan),
        visible=visible,
        centre=centre - 1,
        scale=scale,
        head=np.where(head > 0, head, np.nan),
        test=None if None in flags else np.array(flags, dtype=bool),
    )


def check_image_name(name: object, place: str) -> str:
    """The image's name if it is one and leads nowhere else; DataError otherwise."""
    example = f"expected a plain file name such as '015601864.jpg'; {REMEDY}"
    if not isinstance(name, str) or not name or len(name) > 255 or name in (".", "..") or not name.isprintable():
        raise DataError(f"{place}: the image's name is {reprlib.repr(name)}; {example}")
    if "/" in name or "\\" in name or ":" in name:
        raise DataError(f"{place}: image name {reprlib.repr(name)} leads out of the folder of images; {example}")
    return name


def measure_head_segments(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from upper neck to head top: (N, 16, 2) → (N,)."""
    length: NDArray[np.float64] = np.linalg.norm(joints[:, HEAD_TOP] - joints[:, NECK], axis=-1)
    return length


def _is_plausible(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether (…, 2) points are numbers that can be pixels; those beside the image can."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(points) <= MAX_COORDINATE).all(axis=-1))


def _refuse(
    persons: Sequence[Person],
    wrong: NDArray[np.bool_],
    what: Callable[[int, int], str],
    expected: str = EXPECTED_PIXELS,
) -> None:
    """Raise DataError about the first true cell of (N, …), which `what` describes."""
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        person = persons[row]
        raise DataError(
            f"{person.place}: person {person.number} of {person.image!r} has {what(row, column)}; expected "
            f"{expected}; {REMEDY}"
        )


def _format_point(point: NDArray[np.float64]) -> str:
    return f"({point[0]:g}, {point[1]:g})"
