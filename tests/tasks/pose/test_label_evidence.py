"""What heatmaps say about labels, on maps whose shares are known, and mistakes that are made on purpose."""

import math

import pytest
import torch

from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.tasks.pose.label_evidence import compute_label_evidence
from llpp.tasks.pose.label_mistakes import make_mistakes

SIDE = 16
CELLS = SIDE * SIDE
CODEC = HeatmapCodec(stride=1)  # a pixel is a cell
PEAK = math.log(0.98 + 0.02 / CELLS)  # log share of a cell that has all of a map but what is spread evenly
EMPTY = math.log(0.02 / CELLS)


def make_maps(points):
    """(1, K, 16, 16) with all weight at one cell (x, y) of each joint."""
    maps = torch.zeros(1, len(points), SIDE, SIDE)
    for joint, (x, y) in enumerate(points):
        maps[0, joint, y, x] = 3.0
    return maps


def compare(maps, points, visible=None, order=None):
    joints = torch.tensor([points], dtype=torch.float32)
    seen = torch.tensor([visible or [2] * len(points)])
    return compute_label_evidence(maps, CODEC, joints, seen, order or list(range(len(points))))


def test_a_label_where_the_map_is_fits_and_one_elsewhere_or_beyond_the_map_does_not():
    found = compare(make_maps([(4, 5), (8, 8), (9, 9)]), [(4, 5), (2, 2), (40, 9)])
    assert found["label_fit"][0].tolist() == pytest.approx([PEAK, EMPTY, EMPTY], rel=1e-4)
    assert found["even_fit"].item() == pytest.approx(-math.log(CELLS))


def test_a_map_that_is_the_same_everywhere_says_nothing():
    found = compare(torch.ones(1, 2, SIDE, SIDE), [(3.3, 7.1), (12, 2)])
    assert found["label_fit"][0].tolist() == pytest.approx([-math.log(CELLS)] * 2, rel=1e-4)
    assert found["shift_fit"].item() == pytest.approx(-2 * math.log(CELLS), rel=1e-4)


def test_swapped_labels_fit_at_their_partners():
    found = compare(make_maps([(4, 5), (8, 8), (1, 1)]), [(8, 8), (4, 5), (1, 1)], order=[1, 0, 2])
    assert found["partner_fit"][0, :2].tolist() == pytest.approx([PEAK, PEAK], rel=1e-3)
    # The third joint has no partner.
    assert found["partner_fit"][0, 2].isnan()


def test_labels_that_are_shifted_together_fit_when_they_are_shifted_back():
    found = compare(make_maps([(4, 5), (8, 8)]), [(7, 3), (11, 6)])
    assert found["shift_fit"].item() == pytest.approx(2 * PEAK, rel=1e-3)
    # No shift brings two labels to maps that are apart in another direction.
    apart = compare(make_maps([(4, 5), (8, 8)]), [(7, 3), (2, 2)])
    assert apart["shift_fit"].item() == pytest.approx(PEAK + EMPTY, rel=1e-3)


def test_joints_without_a_label_count_nowhere():
    found = compare(make_maps([(4, 5), (8, 8)]), [(4, 5), (math.nan, math.nan)], visible=[2, 0], order=[1, 0])
    assert found["label_fit"][0, 1].isnan()
    assert found["partner_fit"].isnan().all()
    assert found["shift_fit"].item() == pytest.approx(PEAK, rel=1e-4)


def make_labels():
    """Two persons of four joints, 40 and 80 pixels high; the last joint of the first is not labelled."""
    joints = torch.tensor([[[10, 10], [30, 10], [20, 50], [0, 0]], [[0, 0], [5, 80], [10, 20], [20, 30]]]).float()
    joints[0, 3] = math.nan
    return joints, torch.tensor([[2, 2, 2, 0], [2, 2, 2, 2]])


def make(kind, rows=(3, 9)):
    joints, visible = make_labels()
    return make_mistakes(kind, joints, visible, [1, 0, 2, 3], torch.tensor(rows))


def test_a_moved_joint_is_one_labelled_joint_by_a_share_of_the_person():
    joints, visible = make_labels()
    moved, seen = make("moved")
    distance = (moved - joints).norm(dim=-1)
    assert torch.equal(seen, visible)
    for person, size in enumerate((40, 80)):
        far = distance[person][distance[person] > 0]
        assert far.shape == (1,) and 0.15 * size <= far.item() <= 0.6 * size


def test_a_shifted_person_keeps_its_pose():
    joints, _ = make_labels()
    offset = make("shifted")[0] - joints
    for person, count in enumerate((3, 4)):
        known = offset[person, :count]
        assert torch.allclose(known, known[:1].expand_as(known), atol=1e-4)
        assert known[0].norm() > 0


def test_the_same_records_get_the_same_mistakes_in_any_batch():
    assert torch.equal(make("moved")[0].nan_to_num(), make("moved")[0].nan_to_num())
    assert not torch.equal(make("moved")[0].nan_to_num(), make("moved", rows=(4, 9))[0].nan_to_num())
    # The second person is at the same place of both batches.
    assert torch.equal(make("moved")[0][1], make("moved", rows=(4, 9))[0][1])


def test_swapped_and_exchanged_labels_are_those_of_others():
    joints, visible = make_labels()
    swapped, _ = make("swapped")
    assert torch.equal(swapped[1], joints[1, [1, 0, 2, 3]])
    exchanged, seen = make("other_pose")
    assert torch.equal(exchanged[0], joints[1]) and torch.equal(seen[1], visible[0])
