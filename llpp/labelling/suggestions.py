"""Whether an answer is only what a batch suggested."""

from collections.abc import Mapping, Sequence

from llpp.journal.answers import PersonLabel, Point
from llpp.journal.folder import LabellingFolder
from llpp.labelling.asked import Persons, list_batches, read_suggested

LEAST_PIXELS = 0.02  # what tools lose by rounding
LEAST_SHARE = 1e-4  # of the image's longer side: tools that save percent round to two digits


def read_all_suggested(folder: LabellingFolder) -> dict[str, list[Persons]]:
    """Read what all batches suggested, by image."""
    suggested: dict[str, list[Persons]] = {}
    for number in list_batches(folder):
        for image, persons in read_suggested(folder, number).items():
            suggested.setdefault(image, []).append(persons)
    return suggested


def is_unchanged(persons: Sequence[PersonLabel], suggestions: Sequence[Persons], longer_side: int) -> bool:
    """Return whether labels are one of the suggestions: the same persons with the same joints at the same places.

    A joint that was suggested as visible and has come back as occluded was changed; the opposite was not, because
    some tools have no occluded joints.
    """
    tolerance = max(LEAST_PIXELS, LEAST_SHARE * longer_side)
    return any(_are_same_persons(persons, suggestion, tolerance) for suggestion in suggestions)


def _are_same_persons(persons: Sequence[PersonLabel], suggestion: Persons, tolerance: float) -> bool:
    left = [person.joints for person in suggestion if person.joints]
    for person in persons:
        same = [joints for joints in left if _are_same_joints(person.joints, joints, tolerance)]
        if not same:
            return False
        left.remove(same[0])
    return not left


def _are_same_joints(joints: Mapping[str, Point], suggested: Mapping[str, Point], tolerance: float) -> bool:
    if joints.keys() != suggested.keys():
        return False
    for name, (x, y, visible) in joints.items():
        suggested_x, suggested_y, suggested_visible = suggested[name]
        if max(abs(x - suggested_x), abs(y - suggested_y)) > tolerance or visible < suggested_visible:
            return False
    return True
