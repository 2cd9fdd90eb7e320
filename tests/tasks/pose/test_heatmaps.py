"""Joints ↔ heatmaps: accuracy, conventions and robustness."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.tasks.pose.losses import SpatialCrossEntropy


def random_joints(count, shape, stride=4, seed=0):
    """Uniform over the whole input, up to the outer edges of its outer pixels: (1, count, 2)."""
    size = torch.tensor([shape[1], shape[0]]) * stride
    return torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed)) * size - 0.5


def labelled(joints):
    return torch.full(joints.shape[:2], 2, dtype=torch.uint8)


def error(codec, heatmaps, joints):
    return torch.linalg.vector_norm(codec.decode(heatmaps)[0] - joints, dim=-1)


def place(*values):
    """One joint at (x, y), labelled."""
    return torch.tensor([[values]], dtype=torch.float32), torch.tensor([[2]], dtype=torch.uint8)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("shape", [(64, 64), (16, 16), (48, 64), (24, 12), (3, 5)])
def test_perfect_heatmaps_decode_to_a_tenth_of_a_pixel(sigma, shape):
    codec, joints = HeatmapCodec(sigma=sigma), random_joints(400, shape)
    found = error(codec, codec.encode(joints, labelled(joints), shape), joints)
    assert found.mean() < 0.1
    assert found.max() < 0.5


def test_joints_on_the_outermost_pixels_decode_as_well_as_others():
    codec, shape = HeatmapCodec(), (16, 20)
    right, bottom = 20 * 4 - 0.5, 16 * 4 - 0.5
    joints = torch.tensor(
        [[[-0.5, 30.2], [right, 11.7], [33.1, -0.5], [40.9, bottom], [-0.4, -0.4], [right, bottom]]]
    )
    assert error(codec, codec.encode(joints, labelled(joints), shape), joints).max() < 0.1


def test_other_strides_and_peaks_decode_as_well():
    for stride, peak in ((1, 1.0), (2, 255.0), (8, 30.0)):
        codec, joints = HeatmapCodec(stride=stride, peak=peak), random_joints(100, (32, 24), stride)
        assert error(codec, codec.encode(joints, labelled(joints), (32, 24)), joints).mean() < 0.1


def test_pixel_one_and_a_half_is_the_centre_of_cell_zero():
    """At stride 4 cell 0 holds the pixels 0, 1, 2, 3, whose mean is 1.5; cell 2 holds 8 … 11."""
    codec = HeatmapCodec(stride=4)
    assert codec.to_cells(torch.tensor([1.5, 9.5])).tolist() == [0.0, 2.0]
    assert codec.to_pixels(torch.tensor([0.0, 2.0])).tolist() == [1.5, 9.5]
    heatmap = codec.encode(*place(9.5, 1.5), (4, 5))[0, 0]
    assert divmod(int(heatmap.argmax()), 5) == (0, 2), "x runs along the columns, y along the rows"


def test_a_heatmap_is_the_gaussian_of_the_distance_to_the_joint():
    codec = HeatmapCodec(sigma=1.5, peak=30.0)
    heatmap = codec.encode(*place(10.1, 20.3), (12, 10))[0, 0]
    x, y = 10.6 / 4 - 0.5, 20.8 / 4 - 0.5  # cells
    for row, column in ((4, 2), (5, 3), (0, 0), (11, 9)):
        by_hand = 30 * math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 1.5**2))
        assert float(heatmap[row, column]) == pytest.approx(by_hand, rel=1e-4)


def test_the_value_on_a_cells_centre_is_the_peak():
    codec = HeatmapCodec(sigma=1.75, peak=30.0)
    heatmap = codec.encode(*place(21.5, 13.5), (16, 16))
    assert float(heatmap[0, 0, 3, 5]) == pytest.approx(30.0)
    assert float(heatmap.max()) == pytest.approx(30.0)
    assert float(codec.decode(heatmap)[1]) == pytest.approx(30.0)


def test_joints_off_the_map_or_unlabelled_are_not_drawn():
    codec, shape = HeatmapCodec(), (16, 16)
    nan = float("nan")
    joints = torch.tensor(
        [[[10.0, 10.0], [10.0, 10.0], [10.0, 10.0], [nan, nan], [-3.0, 10.0], [10.0, 67.0], [90.0, -90.0]]]
    )
    visible = torch.tensor([[2, 1, 0, 0, 2, 2, 2]], dtype=torch.uint8)
    drawn = codec.has_target(joints, visible, shape)
    assert drawn.tolist() == [[True, True, False, False, False, False, False]]
    heatmaps = codec.encode(joints, visible, shape)
    assert torch.equal(heatmaps[0, 0], heatmaps[0, 1]), "an occluded joint is labelled all the same"
    assert not heatmaps[0, 2:].any(), "zero, and not NaN"


def test_the_map_ends_with_its_last_pixel():
    codec, edge = HeatmapCodec(), 16 * 4 - 0.5
    for x, inside in ((-0.5, True), (-0.6, False), (edge, True), (edge + 0.1, False)):
        assert bool(codec.has_target(*place(x, 5.0), (8, 16))) is inside
        assert bool(codec.has_target(*place(5.0, x), (16, 8))) is inside


def test_one_joint_that_is_left_out_does_not_change_the_others():
    codec, joints = HeatmapCodec(), random_joints(4, (8, 8))
    some = torch.tensor([[2, 0, 1, 2]], dtype=torch.uint8)
    everything, less = codec.encode(joints, labelled(joints), (8, 8)), codec.encode(joints, some, (8, 8))
    assert torch.equal(everything[:, [0, 2, 3]], less[:, [0, 2, 3]])


def test_decoding_finds_the_vertex_of_the_log_parabola():
    """Log-values -2, 0, -1 have their vertex 1/6 of a cell to the right of the middle."""
    heatmap = torch.zeros(1, 1, 7, 9)
    heatmap[0, 0, 3, 3:6] = torch.tensor([-2.0, 0.0, -1.0]).exp()
    (x, y), score = HeatmapCodec().decode(heatmap)[0][0, 0].tolist(), HeatmapCodec().decode(heatmap)[1]
    assert x == pytest.approx((4 + 1 / 6 + 0.5) * 4 - 0.5, abs=1e-4)
    assert y == pytest.approx((3 + 0.5) * 4 - 0.5, abs=1e-4)
    assert float(score) == 1.0


def test_a_single_bright_cell_decodes_to_its_centre():
    heatmap = torch.zeros(1, 1, 8, 8)
    heatmap[0, 0, 2, 3] = 0.7
    joints, score = HeatmapCodec().decode(heatmap)
    assert joints.tolist() == [[[13.5, 9.5]]]
    assert float(score) == pytest.approx(0.7)


def test_softmax_of_logits_decodes_to_the_joint():
    codec, shape = HeatmapCodec(sigma=1.5), (16, 24)
    joints = random_joints(200, shape)
    logits = codec.encode(joints, labelled(joints), shape).log() + 3.0
    assert error(codec, SpatialCrossEntropy().to_heatmaps(logits), joints).mean() < 0.1


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    scale=st.sampled_from([1e-9, 1, 1e9]),
)
def test_any_map_decodes_inside_itself(seed, height, width, scale):
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * scale
    for heatmaps in (maps, maps.abs(), -maps.abs(), torch.zeros_like(maps), torch.full_like(maps, scale)):
        joints, score = HeatmapCodec().decode(heatmaps)
        assert torch.equal(score, heatmaps.amax(dim=(2, 3)))
        assert (joints >= -0.5).all() and (joints <= torch.tensor([width, height]) * 4 - 0.5).all()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_decoding_stays_within_the_brightest_cell(seed):
    maps = torch.rand(1, 4, 9, 7, generator=torch.Generator().manual_seed(seed))
    joints, _ = HeatmapCodec().decode(maps)
    index = maps.flatten(2).argmax(dim=2)
    centre = torch.stack([index % 7, index // 7], dim=-1) * 4 + 1.5
    assert ((joints - centre).abs() <= 2 + 1e-4).all()


def test_half_precision_heatmaps_are_accepted():
    codec, joints = HeatmapCodec(), random_joints(200, (16, 16))
    heatmaps = codec.encode(joints, labelled(joints), (16, 16)).bfloat16().requires_grad_()
    decoded, _ = codec.decode(heatmaps)
    assert decoded.dtype == torch.float32 and not decoded.requires_grad
    assert torch.linalg.vector_norm(decoded - joints, dim=-1).mean() < 0.5
