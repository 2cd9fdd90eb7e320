"""What heatmaps say about how sure a network is: values worked out by hand, on small maps."""

import math

import numpy as np
import pytest
import torch
from helpers.run_dirs import JOINTS, Grey
from test_confidence import make_maps, make_output

from llpp.tasks.pose.heatmap_columns import (
    compute_entropy_of_found_peaks,
    compute_entropy_of_top_peaks,
    compute_heatmap_entropy,
    compute_joint_spread,
    count_found_joints,
    find_peaks,
)
from llpp.tasks.pose.losses import HeatmapMSE, SpatialCrossEntropy
from llpp.tasks.pose.task import PoseTask
from llpp.tasks.views import MIRRORED


def make_map(side, **heights):
    """(1, 1, side, side) zeros with single cells: a name such as r2c3 is row 2, column 3."""
    maps = torch.zeros(1, 1, side, side)
    for name, height in heights.items():
        row, column = name.removeprefix("r").split("c")
        maps[0, 0, int(row), int(column)] = height
    return maps


def compute(names, raw, loss=None, mirrored=None, peak=1.0):
    task = PoseTask(Grey(), loss or HeatmapMSE(), pck={}, heatmap={"sigma": 1.0, "peak": peak})
    return task.compute_columns(frozenset(names), make_output(raw), {MIRRORED: mirrored})


def test_the_entropy_of_a_map_is_that_of_its_cells_as_shares():
    """Cells of 3 and 1: shares 3/4 and 1/4. One cell: 0. No positive cell: ln 16, as for equal shares."""
    two = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert compute_heatmap_entropy(make_map(4, r0c0=3.0, r2c2=1.0, r3c3=-5.0)).item() == pytest.approx(two)
    assert compute_heatmap_entropy(make_map(4, r0c0=3.0)).item() == 0
    assert compute_heatmap_entropy(-make_map(4, r0c0=3.0)).item() == pytest.approx(math.log(16))
    joints = torch.cat([make_map(4, r0c0=3.0, r2c2=1.0), make_map(4, r0c0=3.0)], dim=1)
    assert compute_heatmap_entropy(joints).item() == pytest.approx(two / 2), "mean over joints"


def test_a_peak_has_no_higher_cell_nearby():
    maps = make_map(8, r1c1=2.0, r1c3=1.0, r1c6=1.0) - 1e-3 * torch.arange(64.0).reshape(8, 8)
    near = find_peaks(maps, 1)[0, 0].nonzero().tolist()
    assert [1, 1] in near and [1, 3] in near and [1, 6] in near
    far = find_peaks(maps, 2)[0, 0].nonzero().tolist()
    assert [1, 1] in far and [1, 3] not in far and [1, 6] in far


def test_of_equal_cells_nearby_one_is_a_peak():
    """A maximum of four cells, as numbers of 16 bits make them, is one peak, and leaves nothing to doubt."""
    maps = make_map(64, r10c10=1.0, r10c11=1.0, r11c10=1.0, r11c11=1.0)
    found = find_peaks(maps, 7)[0, 0, 8:14, 8:14]
    assert found.sum() == 1 and compute_entropy_of_found_peaks(maps, 1.0).item() == 0
    apart = make_map(64, r10c10=1.0, r10c11=1.0, r40c40=1.0)
    assert compute_entropy_of_found_peaks(apart, 1.0).item() == pytest.approx(math.log(2))
    # A flat map says nothing: its joint is not found, and five of its many equal cells count.
    assert compute_entropy_of_top_peaks(torch.ones(1, 1, 16, 16), 4.0).item() == pytest.approx(math.log(5))


@pytest.mark.parametrize("height", [0.0, 10.0])
def test_a_sure_joint_has_one_peak_with_numbers_of_16_bits(height):
    """The logits of perfect maps of σ 1.5, joints anywhere, as a network computes them with bf16-mixed."""
    places = 4 + 8 * torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(0))
    cells = torch.arange(16.0)
    x, y = (cells - places[..., axis, None] for axis in (0, 1))
    logits = height - (x[:, :, None, :] ** 2 + y[:, :, :, None] ** 2) / (2 * 1.5**2)
    maps = SpatialCrossEntropy().to_heatmaps(logits.bfloat16())
    assert compute_entropy_of_found_peaks(maps, 1 / (2 * math.pi * 1.5**2)).item() < 0.01


def test_peaks_that_are_found_are_those_of_a_quarter_of_the_full_height():
    """Full height 2, so heights 1, 0.9 and 0.4 are 15, 13.5 and 6 of 30: the last is below 7.5."""
    maps = make_map(64, r10c10=1.0, r10c40=0.9, r40c10=0.4)
    share = 1 / (1 + math.exp(-1.5))
    expected = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert compute_entropy_of_found_peaks(maps, 2.0).item() == pytest.approx(expected, rel=1e-4)
    near = make_map(64, r10c10=1.0, r10c17=0.9)
    assert compute_entropy_of_found_peaks(near, 2.0).item() == 0, "seven cells apart, the lower is no peak"
    assert compute_entropy_of_found_peaks(0.1 * maps, 2.0).item() == 0, "no joint is found, which counts as sure"


def test_the_top_five_peaks_count_however_low_they_are():
    """Seven equal peaks far apart: five count, and are equally likely; a single high one leaves nothing to doubt."""
    places = {f"r{row}c{column}": 0.01 for row in (5, 25, 45) for column in (5, 30)} | {"r60c60": 0.01}
    low = make_map(64, **places)
    assert compute_entropy_of_top_peaks(low, 1.0).item() == pytest.approx(math.log(5), rel=1e-6)
    assert compute_entropy_of_top_peaks(make_map(64, **{**places, "r5c5": 1.0}), 1.0).item() < 1e-9


def test_a_joint_is_found_from_a_quarter_of_the_full_height_on():
    heights = torch.tensor([[0.5, 0.6, 0.4], [0.0, 0.0, 0.0]])
    assert count_found_joints(heights, 2.0).tolist() == [2, 0]


def test_the_full_height_of_shares_is_that_of_a_gaussians_centre():
    """Sigma 1: 1 / 2π = 0.159, a quarter of which is 0.0398. A cell of ln 3 has 3 / 18 = 0.17, equal ones 1 / 16."""
    raw = make_maps(math.log(3), 0.0)
    raw[1, 1, :, :, :2] = -1.0  # halves: e / (8 e + 8 / ...) stays above 0.0398 for the larger one
    found = compute({"joints_found"}, raw, SpatialCrossEntropy())["joints_found"]
    assert found.tolist() == [JOINTS, JOINTS]
    flat = torch.zeros(1, 2, JOINTS, 8, 8)  # 1 / 64 = 0.0156
    assert compute({"joints_found"}, flat, SpatialCrossEntropy())["joints_found"].tolist() == [0]


def test_poses_are_around_their_mean_and_do_not_change_with_the_size_of_the_crop():
    """Half of the joints at cell (1, 2), half at (2, 2), of four cells: ±1/8 of the side, of 4 px a cell."""
    raw = torch.zeros(1, 2, JOINTS, 4, 4)
    half = JOINTS // 2
    raw[:, 1, :half, 2, 1] = 1.0
    raw[:, 1, half:, 2, 2] = 1.0
    columns = compute({"pose", "joint_confidence"}, raw)
    expected = np.zeros((JOINTS, 2))
    expected[:half, 0] = -1 / 8
    expected[half:, 0] = 1 / 8
    assert columns["pose"][0].numpy() == pytest.approx(expected, abs=1e-6)
    assert columns["joint_confidence"].tolist() == [[1.0] * JOINTS]


def test_the_flip_distance_is_how_far_joints_move_when_the_image_is_mirrored():
    """Cell 1 of four is cell 2 of the mirror image. Found there instead of cell 1, a joint has moved one quarter."""
    raw = make_maps(1.0)
    turned = torch.zeros_like(raw)
    turned[:, 1, :, 2, 2] = 1.0
    assert compute({"flip_distance"}, raw, None, turned)["flip_distance"].item() == pytest.approx(0)
    assert compute({"flip_distance"}, raw, None, raw)["flip_distance"].item() == pytest.approx(0.25)


def test_the_spread_of_joints_is_their_mean_distance_to_their_mean():
    """Two joints in three passes: 3, 4 and 5 px to the right of 0, and always at one place.

    Distances to their mean are 1, 0 and 1 px, and 0 for the other joint: (2/3 + 0) / 2.
    """
    joints = torch.zeros(3, 1, 2, 2)
    joints[:, 0, 0, 0] = torch.tensor([3.0, 4.0, 5.0])
    assert compute_joint_spread(joints).tolist() == pytest.approx([1 / 3])


def test_stacks_and_passes_disagree_by_shares_of_the_side():
    """Cell 1 and cell 2 of four are a quarter of the side apart, and each an eighth from their mean."""
    raw = make_maps(1.0)
    raw[:, 0] = 0.0
    raw[:, 0, :, 2, 2] = 1.0
    assert compute({"stack_disagreement"}, raw)["stack_disagreement"].tolist() == pytest.approx([1 / 8])
    assert compute({"stack_disagreement"}, raw[:, 1:])["stack_disagreement"].tolist() == [0], "a single stack"
    task = PoseTask(Grey(), HeatmapMSE(), pck={}, heatmap={"sigma": 1.0, "peak": 1.0})
    passes = [make_output(raw), make_output(raw.flip(1))]
    assert task.measure_spread(passes)["dropout_disagreement"].tolist() == pytest.approx([1 / 8])
    assert task.measure_spread(passes[:1] * 2)["dropout_disagreement"].tolist() == [0]
