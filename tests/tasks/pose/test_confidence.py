"""What a network says about a pose: the mean height of its maps' maxima, and how unlike the joints' maps are."""

import math

import pytest
import torch
from helpers.run_dirs import JOINTS, Grey

from llpp.tasks.pose.losses import HeatmapMSE, SpatialCrossEntropy
from llpp.tasks.pose.task import PoseTask
from llpp.tasks.views import MIRRORED
from llpp.types import Features, Output

CELLS = 4 * 4


def predict(raw, loss, mirrored=None, column="confidence"):
    task = PoseTask(Grey(), loss, pck={}, heatmap={"sigma": 1.0, "peak": 1.0})
    task.use_views("flip")
    views = {} if mirrored is None else {MIRRORED: mirrored}
    return task.predict(make_output(raw), views)[column]


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


def place_joints(cells):
    """One image whose network is sure of every joint: the first stack is to be ignored, `cells` are (y, x)."""
    raw = torch.zeros(1, 2, JOINTS, 4, 4)
    raw[:, 0] = torch.eye(4)
    for joint, (y, x) in enumerate(cells):
        raw[0, 1, joint, y, x] = 60.0
    return raw


def test_distinctness_is_what_a_place_says_about_its_joint_in_units_of_ln_k():
    """14 joints in cells of their own: 1. All in one cell: 0. Seven each in two: the place is worth ln 2 of ln 14."""
    apart = place_joints([divmod(joint, 4) for joint in range(JOINTS)])
    together = place_joints([(1, 2)] * JOINTS)
    halves = place_joints([(0, joint % 2) for joint in range(JOINTS)])
    raw = torch.cat([apart, together, halves])
    found = predict(raw, SpatialCrossEntropy(), column="distinctness").tolist()
    assert found == pytest.approx([1.0, 0.0, math.log(2) / math.log(14)], abs=1e-6)


def test_heights_become_shares_by_a_softmax_for_distinctness():
    """Of 16 cells one has e^ln 3, the others e^0, for every joint another: 3/18 and 1/18, as with cross-entropy."""
    raw = place_joints([divmod(joint, 4) for joint in range(JOINTS)]) * math.log(3) / 60
    shares = [3 / 18, *[1 / 18] * 15]
    taken = (3 + JOINTS - 1) / (18 * JOINTS)  # of the mean map, in the cell of one joint
    mean = [*[taken] * JOINTS, *[1 / 18] * (16 - JOINTS)]
    entropy, entropy_of_mean = (-sum(share * math.log(share) for share in cells) for cells in (shares, mean))
    for loss in (HeatmapMSE(), SpatialCrossEntropy()):
        found = predict(raw, loss, column="distinctness").item()
        assert found == pytest.approx((entropy_of_mean - entropy) / math.log(JOINTS), rel=1e-5)


def test_distinctness_is_that_of_the_maps_averaged_with_those_of_the_mirrored_image():
    """The image has its even joints in the column where its mirror image, turned back, has the odd ones."""
    own = [(0, 1 if joint % 2 else 2) for joint in range(JOINTS)]
    raw = place_joints(own)
    # Turned back, joint j of the mirrored image is its partner's map with the columns 1 and 2 changed.
    order = Grey().skeleton.flip_order
    mirrored = place_joints([own[order[joint]] for joint in range(JOINTS)])
    alone = predict(raw, SpatialCrossEntropy(), column="distinctness").item()
    averaged = predict(raw, SpatialCrossEntropy(), mirrored, column="distinctness").item()
    assert alone == pytest.approx(math.log(2) / math.log(14), abs=1e-6)
    assert averaged == pytest.approx(0.0, abs=1e-6), "each map has both cells, half and half"
