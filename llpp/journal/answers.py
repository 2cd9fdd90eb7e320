"""Answers as values: what one person has said about one image, in one tool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KINDS = ("labelled", "empty", "skipped", "retracted")
ORIGINS = ("drawn", "edited", "accepted")  # without a prediction to start from, from one, or by leaving it as it was
Point = tuple[float, float, int]  # x, y, visible (1 or 2), see below
Box = tuple[float, float, float, float]  # x, y, width, height


@dataclass(frozen=True)
class PersonLabel:
    """The joints of one person or animal, in pixels of the image as the project reads it.

    Coordinates are 0-based with pixel centres at integers. A joint that is not labelled is not there.
    """

    id: str  # the image's id, or image#n where it has several boxes, or image#hn where none of these fits
    joints: Mapping[str, Point]  # by name
    box: Box | None = None


@dataclass(frozen=True)
class Answer:
    """One line of the journal."""

    image: str  # id
    kind: str  # one of KINDS
    persons: Sequence[PersonLabel]  # at least one if `kind` is labelled, else none
    origin: str  # one of ORIGINS if `kind` is labelled, else empty
    annotator: str  # empty where the tool does not say
    tool: str
    answered_at: str  # 2026-11-27T08:30:00Z; of a tool that does not say, the file's date
    seconds: float | None  # that it took, where the tool says so
    source: str  # SHA-256 of the file that said so
    file: str  # that file's name
    entry: str  # the tool's own name of the annotation; empty where it has none
    key: str  # what makes it news, see `journal.compute_key`


def find_hull(joints: Mapping[str, Point]) -> Box:
    """Return the smallest box, x, y, width, height, around one or more joints."""
    left = min(x for x, _, _ in joints.values())
    top = min(y for _, y, _ in joints.values())
    right = max(x for x, _, _ in joints.values())
    bottom = max(y for _, y, _ in joints.values())
    return (left, top, right - left, bottom - top)
