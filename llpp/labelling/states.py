"""Where each image of a project stands: labelled, empty, skipped, open, missing, or not asked for.

All of it follows from the journal, the batches, the index and the list of released images.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llpp.datasets.project.index import CONDITIONS, ProjectIndex
from llpp.ids import Ids
from llpp.journal.answers import Answer, PersonLabel
from llpp.journal.fold import Folded
from llpp.journal.folder import LabellingFolder
from llpp.journal.snapshot import STATES, Snapshot
from llpp.labelling.asked import AskedRow, list_batches, read_asked
from llpp.labelling.people import NamedBox, find_boxes
from llpp.labelling.released import read_released, write_released

USABLE = ("ok", "apart")  # conditions


@dataclass(frozen=True)
class BatchCounts:
    """The images of one batch."""

    round: int
    labelled: int
    empty: int
    skipped: int
    open: int
    missing: int
    released: int  # not answered, and given back to the pool

    @property
    def answered(self) -> int:
        """Images that annotators are done with."""
        return self.labelled + self.empty + self.skipped

    @property
    def asked(self) -> int:
        """Images that are answered or can be."""
        return self.answered + self.open

    @property
    def share(self) -> float:
        """Of the asked images, those answered; 1 if none can be answered any more."""
        return self.answered / self.asked if self.asked else 1.0

    @property
    def reached(self) -> float:
        """The share down to a tenth: a value of `label.enough` with which this is enough."""
        return math.floor(self.share * 10 + 1e-9) / 10

    def describe(self) -> str:
        """Return the counts in words."""
        kinds = [f"{self.labelled} labelled", f"{self.skipped} skipped", f"{self.empty} empty"]
        line = f"round {self.round}, {self.answered} of {self.asked} answered ({', '.join(kinds)}), {self.open} open"
        if self.missing:
            line += f", {self.missing} missing"
        return line


@dataclass(frozen=True)
class ImageStates:
    """The state of all images that were asked for or answered; of the others nothing is known."""

    state: Mapping[str, str]  # id → one of STATES
    batches: Mapping[int, BatchCounts]  # by number

    def list_images(self, state: str) -> list[str]:
        """Return the ids of the images in a state, sorted."""
        return sorted(image for image, other in self.state.items() if other == state)

    @property
    def counts(self) -> Mapping[str, int]:
        """Images by state."""
        return Counter(self.state.values())


def read_batches(folder: LabellingFolder) -> dict[int, list[AskedRow]]:
    """Read the tables of all complete batches, by number."""
    return {number: read_asked(folder, number) or [] for number in list_batches(folder)}


def find_states(
    folded: Mapping[str, Folded],
    batches: Mapping[int, Sequence[AskedRow]],
    index: ProjectIndex,
    released: Mapping[str, int],
    accept_changed: bool = False,
) -> ImageStates:
    """Find the state of each image; `released` is that of `read_released`.

    With `accept_changed`, an image whose file has another content than at first is not missing.
    """
    usable = _list_usable(index, accept_changed)
    last_asked = _find_last_asked(batches)
    state = {}
    for image in sorted({*folded, *last_asked}):
        kind = folded[image].kind if image in folded else None
        is_released = last_asked.get(image, -1) <= released.get(image, -1)
        if kind is None and is_released:
            continue
        if image not in usable:
            state[image] = "missing"
        else:
            state[image] = kind or "open"

    counts = {}
    for number, rows in batches.items():
        found = Counter(state.get(row.image, "released") for row in rows)
        # What a later batch has asked for again is that batch's.
        again = sum(_is_asked_again(row.image, number, state, released, last_asked) for row in rows)
        counts[number] = BatchCounts(
            round=number,
            labelled=found["labelled"],
            empty=found["empty"],
            skipped=found["skipped"],
            open=found["open"] - again,
            missing=found["missing"],
            released=found["released"] + again,
        )
    return ImageStates(state, counts)


def release_open(folder: LabellingFolder, states: ImageStates, batches: Mapping[int, Sequence[AskedRow]]) -> int:
    """Give all open images back to the pool and return their number; a later batch may ask for them again."""
    images = states.list_images("open")
    if images:
        last_asked = _find_last_asked(batches)
        released = read_released(folder.released)
        released |= {image: last_asked[image] for image in images}
        write_released(released, folder.released)
    return len(images)


def _find_last_asked(batches: Mapping[int, Sequence[AskedRow]]) -> dict[str, int]:
    """The number of the last batch that has asked for each image."""
    last = {}
    for number in sorted(batches):
        for row in batches[number]:
            last[row.image] = number
    return last


def _is_asked_again(
    image: str, number: int, state: Mapping[str, str], released: Mapping[str, int], last_asked: Mapping[str, int]
) -> bool:
    """Whether an open image was released after batch `number`, and asked for again by a later one."""
    return state.get(image) == "open" and number <= released.get(image, -1) < last_asked[image]


def _list_usable(index: ProjectIndex, accept_changed: bool) -> set[str]:
    conditions = (*USABLE, "changed") if accept_changed else USABLE
    codes = [CONDITIONS.index(condition) for condition in conditions]
    rows = np.flatnonzero(np.isin(index.condition, codes))
    return set(index.ids.take(rows))


def build_snapshot(
    number: int,
    budget: int,
    joints: Sequence[str],
    folded: Mapping[str, Folded],
    states: ImageStates,
    boxes: Mapping[str, Sequence[NamedBox]] | None = None,
) -> Snapshot:
    """Build what round `number` trains on: images in the order of their ids, and each one's persons.

    A person whose label has no box gets the project's of its id.
    """
    persons: list[PersonLabel] = []
    images: list[str] = []
    codes: list[int] = []
    for image in sorted(states.state):
        state = states.state[image]
        labelled = folded[image].persons if state == "labelled" else ()
        for person in labelled or (PersonLabel(image, {}),):
            persons.append(person)
            images.append(image)
            codes.append(STATES.index(state))

    position = {name: column for column, name in enumerate(joints)}
    points = np.full((len(persons), len(joints), 2), np.nan, dtype=np.float32)
    visible = np.zeros((len(persons), len(joints)), dtype=np.uint8)
    box_rows = np.full((len(persons), 4), np.nan, dtype=np.float32)
    for row, (image, person) in enumerate(zip(images, persons, strict=True)):
        for name, (x, y, code) in person.joints.items():
            if name in position:
                points[row, position[name]] = (x, y)
                visible[row, position[name]] = code
        box = person.box or dict(find_boxes(boxes, image)).get(person.id)
        if box is not None:
            box_rows[row] = box
    return Snapshot(
        round=number,
        budget=budget,
        joints=tuple(joints),
        ids=Ids([person.id for person in persons]),
        images=Ids(images),
        state=np.array(codes, dtype=np.uint8),
        points=points,
        visible=visible,
        boxes=box_rows,
        seconds=sum_seconds(folded),
    )


def sum_seconds(folded: Mapping[str, Folded]) -> float | None:
    """Return how long people have labelled, as far as tools say so; None if none does."""
    timed = _list_timed_answers(folded)
    # Whatever their order, so that equal answers make equal files.
    return math.fsum(answer.seconds or 0.0 for answer in timed) if timed else None


def _list_timed_answers(folded: Mapping[str, Folded]) -> list[Answer]:
    timed: list[Answer] = []
    for image in folded.values():
        timed += [answer for answer in image.answers if answer.seconds is not None]
    return timed


def describe_time(folded: Mapping[str, Folded]) -> str:
    """Return how long labelling took, as far as tools say so; empty if none does.

    An image's time is that of each annotator's newest answer, which tools count from the first look at it.
    """
    timed = _list_timed_answers(folded)
    if not timed:
        return ""
    total = sum(answer.seconds or 0.0 for answer in timed)
    sentence = f"labelling took {_format_duration(total)}, {total / len(timed):.0f} s an image"
    by_origin = []
    for origin in ("drawn", "edited", "accepted"):
        seconds = [answer.seconds or 0.0 for answer in timed if answer.origin == origin]
        if seconds:
            by_origin.append(f"{origin} {sum(seconds) / len(seconds):.0f} s")
    if len(by_origin) > 1:
        sentence += f"; {', '.join(by_origin)}"
    return sentence


def _format_duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
