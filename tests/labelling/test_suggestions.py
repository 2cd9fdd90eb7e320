"""What a batch suggests."""

from llpp.journal.answers import PersonLabel
from llpp.labelling.suggestions import keep_inside


def test_joints_outside_of_the_image_are_not_suggested_nor_persons_without_joints():
    joints = {
        "first pixel": (0.0, 0.0, 2),
        "last pixel": (99.0, 49.0, 2),
        "left": (-0.6, 5.0, 2),
        "right": (100.0, 5.0, 2),
        "above": (5.0, -12.0, 2),
        "below": (5.0, 50.0, 2),
    }
    outside = PersonLabel("a.jpg#2", {"nose": (-3.0, 4.0, 2)})
    (kept,) = keep_inside([PersonLabel("a.jpg#1", joints, (1.0, 2.0, 3.0, 4.0)), outside], (100, 50))
    assert kept == PersonLabel(
        "a.jpg#1", {"first pixel": (0.0, 0.0, 2), "last pixel": (99.0, 49.0, 2)}, (1.0, 2.0, 3.0, 4.0)
    )
