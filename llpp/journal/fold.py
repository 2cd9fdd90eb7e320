"""What all lines of a journal come to: for each image, the answer that counts."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.errors import ConfigError
from llpp.journal.answers import Answer, Box, PersonLabel, Point, find_hull

Who = tuple[str, str, str]  # image, annotator, tool
LEAST_FOR_SIGMAS = 50  # persons that two annotators have labelled


@dataclass(frozen=True)
class Folded:
    """What is known about one image."""

    image: str  # id
    kind: str | None  # labelled | empty | skipped; None: all answers were retracted
    persons: Sequence[PersonLabel]  # at least one if `kind` is labelled, else none
    answers: Sequence[Answer]  # the newest of each annotator, the oldest of these first
    disagrees: bool  # whether two annotators have answered differently


def fold_answers(answers: Sequence[Answer], conflict: str = "newest") -> dict[str, Folded]:
    """Fold the lines of a journal, in their order, into one value per image.

    Of one annotator, the answer with the latest time counts, of equal times the later line. A retraction cancels what
    the same annotator has answered with the same tool in earlier lines.

    Between annotators, `conflict` decides. newest: the latest answer counts. mean: what most annotators have answered
    counts, without those that skipped the image if others did not, and of two equally frequent kinds the later one; a
    person or joint is kept if at least half of those who labelled the image, or the person, have labelled it, its
    coordinates are their mean, and it is visible unless most of them say that it is occluded. error: see below.

    Raises:
        ConfigError: conflict is error, and two annotators disagree about an image.
    """
    newest = _find_newest(answers)
    folded = {}
    for image, listed in newest.items():
        disagrees = any(not _are_equal(answer, listed[0]) for answer in listed)
        if disagrees and conflict == "error":
            raise _describe_conflict(image, listed)
        if not listed:
            folded[image] = Folded(image, None, (), (), False)
        elif disagrees and conflict == "mean":
            kind, persons = _average(listed)
            folded[image] = Folded(image, kind, persons, listed, True)
        else:
            folded[image] = Folded(image, listed[-1].kind, listed[-1].persons, listed, disagrees)
    return folded


def get_time(answer: Answer) -> str:
    """Return a text that is greater for a later answer, with fractions of a second or without."""
    return answer.answered_at.removesuffix("Z")


def find_standing(answers: Sequence[Answer]) -> dict[Who, Answer]:
    """Return the newest answer of each annotator, with each tool, about each image; not if it was retracted."""
    newest: dict[Who, tuple[str, int]] = {}
    for position, answer in enumerate(answers):
        who = (answer.image, answer.annotator, answer.tool)
        if answer.kind == "retracted":
            newest.pop(who, None)
        else:
            time = (get_time(answer), position)
            newest[who] = max(newest.get(who, time), time)
    # In the order of time, and of equal times in that of the journal.
    ordered = sorted(newest, key=newest.__getitem__)
    return {who: answers[newest[who][1]] for who in ordered}


def _find_newest(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    """The newest answer of each annotator by image, the oldest first; none if all were retracted."""
    by_annotator: dict[str, dict[str, Answer]] = {answer.image: {} for answer in answers}
    for (image, annotator, _), answer in find_standing(answers).items():
        # Out and in again, so that the order stays that of time.
        by_annotator[image].pop(annotator, None)
        by_annotator[image][annotator] = answer
    return {image: list(newest.values()) for image, newest in by_annotator.items()}


def _are_equal(answer: Answer, other: Answer) -> bool:
    return answer.kind == other.kind and tuple(answer.persons) == tuple(other.persons)


def _describe_conflict(image: str, answers: Sequence[Answer]) -> ConfigError:
    first = answers[0]
    second = next(answer for answer in answers if not _are_equal(answer, first))
    return ConfigError(
        f"{first.annotator or 'an annotator without a name'} and {second.annotator or 'one without a name'} have "
        f"answered differently about {image} ({first.file}, {second.file}), and label.conflict=error; set "
        "label.conflict=newest or label.conflict=mean, or settle it in the labelling tool"
    )


def _average(answers: Sequence[Answer]) -> tuple[str, Sequence[PersonLabel]]:
    """The kind that most annotators chose, and the mean of their persons."""
    decided = [answer for answer in answers if answer.kind != "skipped"] or list(answers)
    counts = Counter(answer.kind for answer in decided)
    most = max(counts.values())
    # In the order of time, so that of two equally frequent kinds the later one is the last.
    kind = [answer.kind for answer in decided if counts[answer.kind] == most][-1]
    if kind != "labelled":
        return kind, ()

    labelled = [answer for answer in decided if answer.kind == "labelled"]
    by_id: dict[str, list[PersonLabel]] = {}
    for answer in labelled:
        for person in answer.persons:
            by_id.setdefault(person.id, []).append(person)
    persons = [_average_person(same) for same in by_id.values() if 2 * len(same) >= len(labelled)]
    if not persons:
        # Each annotator has labelled other persons.
        return kind, labelled[-1].persons
    return kind, tuple(persons)


def _average_person(labels: Sequence[PersonLabel]) -> PersonLabel:
    points: dict[str, list[Point]] = {}
    for label in labels:
        for name, point in label.joints.items():
            points.setdefault(name, []).append(point)
    joints = {}
    for name, same in points.items():
        if 2 * len(same) >= len(labels):
            joints[name] = _average_point(same)
    if not joints:
        joints = dict(labels[-1].joints)
    return PersonLabel(labels[0].id, joints, _average_box([label.box for label in labels if label.box is not None]))


def _average_point(points: Sequence[Point]) -> Point:
    occluded = sum(visible == 1 for _, _, visible in points)
    visible = 1 if 2 * occluded > len(points) else 2
    return (_average_numbers([x for x, _, _ in points]), _average_numbers([y for _, y, _ in points]), visible)


def _average_box(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    x, y, width, height = (_average_numbers(values) for values in zip(*boxes, strict=True))
    return (x, y, width, height)


def _average_numbers(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the labels of two annotators are apart. K joints; NaN where there is no pair of labels."""

    images: int  # that two or more annotators have labelled
    persons: int  # in them
    joints: Sequence[str]  # (K,) names
    pairs: NDArray[np.int64]  # (K,) pairs of labels
    distance: NDArray[np.float64]  # (K,) median, in units of the longer side of the person's box
    torso_distance: NDArray[np.float64]  # (K,) median, in units of the torso
    visibility: NDArray[np.int64]  # (K,) pairs of labels of which one is visible and one is occluded
    unpaired: NDArray[np.int64]  # (K,) pairs of annotators of whom one has labelled the joint and one has not
    sigmas: NDArray[np.float64] | None  # (K,) for OKS; None: too few persons


def measure_agreement(
    folded: Mapping[str, Folded], joints: Sequence[str], torso: Sequence[tuple[str, str]] = ()
) -> Agreement:
    """Compare the labels of each two annotators of the same person.

    The box of a person is the mean of both annotators', or, if they have none, of the hulls of their joints. Its
    torso is the longest of the diagonals `torso`, pairs of joints, that both have labelled; the mean of both lengths.

    A joint's sigma is that of COCO's object keypoint similarity, σ² = E[d² / s²] with s² the object's area
    (https://cocodataset.org/#keypoints-eval). Here s² is the area of the box, and d² half of the squared distance of
    the two labels: the difference of two independent labels has twice the variance of one. They need 50 persons.
    """
    position = {name: number for number, name in enumerate(joints)}
    by_box: list[list[float]] = [[] for _ in joints]
    by_torso: list[list[float]] = [[] for _ in joints]
    by_area: list[list[float]] = [[] for _ in joints]
    visibility = np.zeros(len(joints), dtype=np.int64)
    unpaired = np.zeros(len(joints), dtype=np.int64)
    images = set()
    persons = set()
    for image, first, second in _list_pairs(folded):
        images.add(image)
        persons.add((image, first.id))
        width, height = _measure_box(first, second)
        length = _measure_torso(first, second, torso)
        for name in first.joints.keys() ^ second.joints.keys():
            if name in position:
                unpaired[position[name]] += 1
        for name in first.joints.keys() & second.joints.keys() & position.keys():
            number = position[name]
            x, y, visible = first.joints[name]
            other_x, other_y, other_visible = second.joints[name]
            distance = math.hypot(x - other_x, y - other_y)
            visibility[number] += visible != other_visible
            by_box[number].append(distance / max(width, height) if max(width, height) > 0 else math.nan)
            by_torso[number].append(distance / length if length > 0 else math.nan)
            by_area[number].append(distance**2 / 2 / (width * height) if width * height > 0 else math.nan)

    sigmas = None
    if len(persons) >= LEAST_FOR_SIGMAS:
        sigmas = np.sqrt([_average_finite(values) for values in by_area])
    return Agreement(
        images=len(images),
        persons=len(persons),
        joints=tuple(joints),
        pairs=np.array([len(values) for values in by_box], dtype=np.int64),
        distance=np.array([_find_median(values) for values in by_box]),
        torso_distance=np.array([_find_median(values) for values in by_torso]),
        visibility=visibility,
        unpaired=unpaired,
        sigmas=sigmas,
    )


def _list_pairs(folded: Mapping[str, Folded]) -> Iterator[tuple[str, PersonLabel, PersonLabel]]:
    """List each two annotators' labels of the same person."""
    for image in sorted(folded):
        labelled = [answer for answer in folded[image].answers if answer.kind == "labelled"]
        for first, second in itertools.combinations(labelled, 2):
            others = {person.id: person for person in second.persons}
            for person in first.persons:
                if person.id in others:
                    yield image, person, others[person.id]


def _measure_box(first: PersonLabel, second: PersonLabel) -> tuple[float, float]:
    """Mean width and height of the boxes of two labels, or else of the hulls of their joints."""
    sizes = [label.box[2:] for label in (first, second) if label.box is not None]
    if not sizes:
        sizes = [find_hull(label.joints)[2:] for label in (first, second)]
    return _average_numbers([width for width, _ in sizes]), _average_numbers([height for _, height in sizes])


def _measure_torso(first: PersonLabel, second: PersonLabel, torso: Sequence[tuple[str, str]]) -> float:
    """Longest diagonal with all four ends labelled; 0 if there is none."""
    longest = 0.0
    for start, end in torso:
        lengths = []
        for joints in (first.joints, second.joints):
            if start in joints and end in joints:
                lengths.append(math.dist(joints[start][:2], joints[end][:2]))
        if len(lengths) == 2:
            longest = max(longest, _average_numbers(lengths))
    return longest


def _average_finite(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return _average_numbers(finite) if finite else math.nan


def _find_median(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan
