"""What an entry says about joints and boxes → pixels of the project's image."""

import math
from dataclasses import dataclass

from llpp.journal.answers import Box, Point
from llpp.oracles.tool import Entry, PersonEntry, Size

RATIO_TOLERANCE = 0.01  # of width / height: thumbnails have rounded sizes
FARTHEST = 10  # image sides outside of an image: no annotator's doing
MOST_PIXELS = 1_000_000


class EntryError(Exception):
    """Why an entry cannot be used, in a sentence without a full stop."""

    def __init__(self, reason: str, nearest: str = "") -> None:
        """`nearest`: id of the image with the most similar name."""
        super().__init__(reason)
        self.nearest = nearest


@dataclass(frozen=True)
class Scale:
    """From an entry's units to pixels of the project's image."""

    x: float
    y: float
    offset: float  # pixels that are added before and taken off afterwards

    def move(self, x: float, y: float) -> tuple[float, float]:
        """Return a point in pixels of the project's image."""
        return (x + self.offset) * self.x - self.offset, (y + self.offset) * self.y - self.offset


def find_scale(entry: Entry, size: Size, half_pixel: bool) -> Scale:
    """Compare the size that an entry states with the image's; EntryError if they are not of one shape."""
    width, height = size
    if entry.size is not None and entry.size != size and min(size) > 0:
        given_width, given_height = entry.size
        is_valid = given_width > 0 and given_height > 0
        if not is_valid or abs(given_width * height / (given_height * width) - 1) > RATIO_TOLERANCE:
            raise EntryError(
                f"the file has the image as {given_width} × {given_height} pixels, the project as "
                f"{width} × {height}; label the image that the batch has, upright and uncropped"
            )
        if not entry.relative:
            # Numbers that count from the image's corner scale as they are; with half_pixel they were made to count
            # from the first pixel's centre.
            offset = 0.5 if half_pixel else 0.0
            return Scale(width / given_width, height / given_height, offset)
    if entry.relative:
        if min(size) <= 0:
            raise EntryError("coordinates are shares of the image's size, which is not known; restore the image")
        return Scale(width, height, 0.0)
    return Scale(1.0, 1.0, 0.0)


def read_point(name: str, position: tuple[float, float], visible: int, size: Size) -> Point:
    """Return a joint; EntryError if it is no point near the image, or its visibility is no such code."""
    x, y = position
    # The size of an image that was never readable is not known.
    farthest = FARTHEST * max(size) if min(size) > 0 else MOST_PIXELS
    if not (abs(x) <= farthest + size[0] and abs(y) <= farthest + size[1]):
        raise EntryError(f"joint {name} is at ({x:g}, {y:g}), but the image has {size[0]} × {size[1]} pixels")
    if visible not in (1, 2):
        raise EntryError(f"joint {name} has visibility {visible!r}; expected 0, 1 or 2")
    return (x, y, visible)


def read_box(person: PersonEntry, scale: Scale) -> Box | None:
    """Return the box of a person; None if it has none, or an impossible one: joints are what matters."""
    if person.box is None or not all(math.isfinite(value) for value in person.box):
        return None
    x, y, width, height = person.box
    if width <= 0 or height <= 0:
        return None
    left, top = scale.move(x, y)
    return (left, top, width * scale.x, height * scale.y)


def is_inside(point: Point, size: Size) -> bool:
    """Return whether a joint is inside of an image, wherever its tool puts the first pixel's centre."""
    x, y, _ = point
    return -0.5 <= x <= size[0] and -0.5 <= y <= size[1]
