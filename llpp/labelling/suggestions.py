"""What a batch suggests, and whether an answer is only that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llpp.journal.answers import PersonLabel, Point
from llpp.journal.folder import LabellingFolder
from llpp.labelling.asked import Persons, list_batches, read_suggested
from llpp.oracles.tool import Size

LEAST_PIXELS = 0.02  # what tools lose by rounding
LEAST_SHARE = 1e-4  # of the image's longer side: tools that save percent round to two digits


def read_all_suggested(folder: LabellingFolder) -> dict[str, list[Persons]]:
    """Read what all batches suggested, by image."""
    suggested: dict[str, list[Persons]] = {}
    for number in list_batches(folder):
        for image, persons in read_suggested(folder, number).items():
            suggested.setdefault(image, []).append(persons)
    return suggested


def keep_inside(persons: Persons, size: Size) -> list[PersonLabel]:
    """Return persons with those joints only that are inside of an image of `size`; nobody without joints.

    A model may place a joint anywhere. Outside of the image it is wrong, in many tools it cannot be reached to be
    corrected, and programs that read YOLO's files refuse all of an image for it.
    """
    width, height = size
    kept = []
    for person in persons:
        joints = {}
        for name, (x, y, visible) in person.joints.items():
            if 0 <= x < width and 0 <= y < height:
                joints[name] = (x, y, visible)
        if joints:
            kept.append(replace(person, joints=joints))
    return kept


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
