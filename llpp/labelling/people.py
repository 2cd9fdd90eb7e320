"""Which persons of the project the labelled persons of an image are."""

from collections.abc import Mapping, Sequence

from llpp.journal.answers import Box

LEAST_OVERLAP = 0.3  # intersection over union
NamedBox = tuple[str, Box]  # id of a person, and where it is


def assign_person_ids(image: str, hulls: Sequence[Box], names: Sequence[str], boxes: Sequence[NamedBox]) -> list[str]:
    """Return an id for each labelled person of an image: of the project's boxes, or image#h1, image#h2 … .

    hulls: of the persons, their boxes or the hulls of their joints. names: ids that the file gives them, or empty;
    these win. The others get the boxes with which they overlap most, the best pair first.
    """
    known = dict(boxes)
    ids = [""] * len(hulls)
    for number, name in enumerate(names):
        is_ours = name in known or name.startswith(f"{image}#h")
        if is_ours and name not in ids:
            ids[number] = name

    pairs = []
    for number, hull in enumerate(hulls):
        for person, box in known.items():
            if ids[number] == "" and person not in ids:
                pairs.append((-compute_overlap(hull, box), number, person))
    for overlap, number, person in sorted(pairs):
        if -overlap >= LEAST_OVERLAP and ids[number] == "" and person not in ids:
            ids[number] = person

    # From left to right, so that a file that lists them in another order gives them the same ids.
    others = sorted((hulls[number], number) for number in range(len(hulls)) if ids[number] == "")
    free = _list_free_ids(image, ids, len(others))
    for (_, number), person in zip(others, free, strict=True):
        ids[number] = person
    return ids


def _list_free_ids(image: str, taken: Sequence[str], count: int) -> list[str]:
    free: list[str] = []
    number = 1
    while len(free) < count:
        person = f"{image}#h{number}"
        if person not in taken:
            free.append(person)
        number += 1
    return free


def compute_overlap(box: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union; 0 if both are empty."""
    left = max(box[0], other[0])
    top = max(box[1], other[1])
    right = min(box[0] + box[2], other[0] + other[2])
    bottom = min(box[1] + box[3], other[1] + other[3])
    common = max(right - left, 0.0) * max(bottom - top, 0.0)
    union = box[2] * box[3] + other[2] * other[3] - common
    return common / union if union > 0 else 0.0


def find_boxes(boxes: Mapping[str, Sequence[NamedBox]] | None, image: str) -> Sequence[NamedBox]:
    """Return the project's boxes in an image."""
    return [] if boxes is None else boxes.get(image, [])
