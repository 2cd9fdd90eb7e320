"""The confidence of a pose: the mean over joints of the height of their maps' maximum."""

import math

import pytest
import torch
from helpers.run_dirs import JOINTS, Grey

from llpp.tasks.pose.losses import HeatmapMSE, SpatialCrossEntropy
from llpp.tasks.pose.task import PoseTask
from llpp.tasks.views import MIRRORED
from llpp.types import Features, Output

CELLS = 4 * 4


def predict(raw, loss, mirrored=None):
    task = PoseTask(Grey(), loss, pck={}, heatmap={"sigma": 1.0, "peak": 1.0})
    task.use_views("flip")
    views = {} if mirrored is None else {MIRRORED: mirrored}
    return task.predict(make_output(raw), views)["confidence"]


def make_output(raw):
    return Output(raw, Features({}, torch.zeros(len(raw), 1, 4, 4)), stride=4)


def make_maps(*heights):
    """One image per height: two stacks, of which the first is to be ignored; every map has one cell that high."""
    raw = torch.zeros(len(heights), 2, JOINTS, 4, 4)
    raw[:, 0] = 100.0
    for image, height in enumerate(heights):
        raw[image, 1, :, 2, 1] = height
    return raw


def test_raw_maps_count_as_they_are_and_never_below_0():
    raw = make_maps(0.5, 0.25, 0.0)
    raw[1, 1, : JOINTS // 2] *= 3  # half of the joints 0.75, half 0.25
    raw[2] -= 1.0
    assert predict(raw, HeatmapMSE()).tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_with_cross_entropy_it_is_the_share_of_the_likeliest_cell():
    """One cell is three times as likely as each of the 15 others: 3 / (3 + 15); equal cells have 1 / 16."""
    assert predict(make_maps(math.log(3), 0.0), SpatialCrossEntropy()).tolist() == pytest.approx([3 / 18, 1 / CELLS])


def test_with_the_mirrored_image_it_is_that_of_the_averaged_maps():
    """The mirrored image's maximum is where the mirrored joint is: cell 1 of four becomes cell 2."""
    agreed = make_maps(0.5)
    turned = torch.zeros_like(agreed)
    turned[:, 1, :, 2, 2] = 0.5
    assert predict(agreed, HeatmapMSE(), turned).tolist() == pytest.approx([0.5])
    assert predict(agreed, HeatmapMSE(), agreed).tolist() == pytest.approx([0.25])
