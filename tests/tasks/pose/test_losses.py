"""Pose losses against numbers worked out by hand or by scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.tasks.pose.losses import ForegroundMSE, HeatmapMSE, SpatialCrossEntropy

LOSSES = [HeatmapMSE(), HeatmapMSE("all"), ForegroundMSE(), ForegroundMSE("all"), SpatialCrossEntropy()]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(*values):
    """One image, one stack: a 2 × 2 map of one value per joint."""
    return torch.tensor(values).reshape(1, 1, -1, 1, 1).expand(1, 1, len(values), 2, 2)


def some_batch(batch=3, stacks=2, joints=4, shape=(8, 6)):
    """Random heatmaps, Gaussian targets, and a pattern of drawn joints whose last image has none."""
    maps = torch.randn(batch, stacks, joints, *shape, generator=generator())
    size = torch.tensor([shape[1], shape[0]]) * 4
    places = torch.rand(batch, joints, 2, generator=generator(1)) * size - 0.5
    visible = torch.full((batch, joints), 2, dtype=torch.uint8)
    visible[0, 1] = visible[1, 0] = 0
    visible[-1] = 0
    codec = HeatmapCodec()
    return maps, codec.encode(places, visible, shape), codec.has_target(places, visible, shape)


def test_mse_by_hand():
    """Errors of 1 and 2 everywhere: 1 and 4 per joint."""
    heatmaps, target = flat(1.0, 2.0), torch.zeros(1, 2, 2, 2)
    drawn = torch.tensor([[True, False]])
    assert HeatmapMSE()(heatmaps, target, torch.ones_like(drawn)).tolist() == [2.5]
    assert HeatmapMSE()(heatmaps, target, drawn).tolist() == [1.0]
    assert HeatmapMSE("all")(heatmaps, target, drawn).tolist() == [2.5]


def test_mse_averages_cells_then_joints_then_stacks():
    heatmaps, target, drawn = some_batch()
    found = HeatmapMSE()(heatmaps, target, drawn)
    squared = (heatmaps.double().numpy() - target.double().numpy()[:, None]) ** 2
    for i in range(2):
        known = drawn[i].numpy()
        assert float(found[i]) == pytest.approx(np.mean([squared[i, s][known].mean() for s in (0, 1)]), rel=1e-5)
    everything = HeatmapMSE("all")(heatmaps, target, drawn)
    assert everything.tolist() == pytest.approx(squared.mean(axis=(1, 2, 3, 4)).tolist(), rel=1e-5)


def test_foreground_mse_by_hand():
    """Target 2, 1, 0, 0 and background 0.5: weights 1.5, 1, 0.5, 0.5, squared errors of an empty map 4, 1, 0, 0."""
    target = torch.tensor([[[[2.0, 1.0], [0.0, 0.0]]]])
    drawn = torch.tensor([[True]])
    loss = ForegroundMSE(background=0.5)
    assert loss(torch.zeros(1, 1, 1, 2, 2), target, drawn).tolist() == pytest.approx([(1.5 * 4 + 1.0) / 3.5])
    far = torch.tensor([[[[[2.0, 1.0], [0.0, 3.0]]]]])  # wrong by 3 on one background cell only
    assert loss(far, target, drawn).tolist() == pytest.approx([0.5 * 9 / 3.5])


def test_foreground_mse_of_an_undrawn_joint_is_its_plain_mean_or_nothing():
    heatmaps, target = flat(3.0, 1.0), torch.zeros(1, 2, 2, 2)
    target[0, 1] = 1.0
    drawn = torch.tensor([[False, True]])
    assert ForegroundMSE("all")(heatmaps, target, drawn).tolist() == pytest.approx([4.5])
    assert ForegroundMSE()(heatmaps, target, drawn).tolist() == pytest.approx([0.0])


def test_foreground_mse_without_background_weight_stays_finite():
    heatmaps, target, drawn = some_batch()
    heatmaps.requires_grad_()
    loss = ForegroundMSE(background=0.0)(heatmaps, target, drawn)
    loss.sum().backward()
    assert loss.isfinite().all() and heatmaps.grad.isfinite().all()


def test_cross_entropy_is_the_divergence_from_the_normalised_target():
    heatmaps, target, drawn = some_batch()
    found = SpatialCrossEntropy()(heatmaps, target, drawn)
    for i in range(2):
        values = [
            stats.entropy(
                target[i, k].double().flatten(), special.softmax(heatmaps[i, s, k].double().flatten().numpy())
            )
            for s in range(2)
            for k in range(4)
            if drawn[i, k]
        ]
        assert float(found[i]) == pytest.approx(np.mean(values), rel=1e-4)


def test_cross_entropy_of_a_flat_map_by_hand():
    """A uniform prediction over 4 cells against half, half, nothing, nothing: ln 4 - ln 2."""
    target = torch.tensor([[[[5.0, 5.0], [0.0, 0.0]]]])
    loss = SpatialCrossEntropy()(flat(7.0), target, torch.tensor([[True]]))
    assert loss.tolist() == pytest.approx([math.log(2)])


def test_cross_entropy_pulls_the_softmax_towards_the_target():
    """d loss / d logits = (softmax - share) / (stacks · drawn joints)."""
    heatmaps, target, drawn = some_batch()
    heatmaps.requires_grad_()
    SpatialCrossEntropy()(heatmaps, target, drawn)[0].backward()
    softmax = special.softmax(heatmaps[0, 1, 2].detach().double().numpy())
    share = target[0, 2].double().numpy() / float(target[0, 2].double().sum())
    expected = (softmax - share) / (2 * int(drawn[0].sum()))
    assert heatmaps.grad[0, 1, 2].numpy() == pytest.approx(expected, abs=1e-6)
    assert not heatmaps.grad[0, :, 1].any(), "joint 1 is not labelled"


def test_cross_entropy_survives_extreme_logits():
    heatmaps, target, drawn = some_batch()
    for scale in (1e4, 1e30):
        extreme = (heatmaps * scale).requires_grad_()
        loss = SpatialCrossEntropy()(extreme, target, drawn)
        loss.sum().backward()
        assert loss.isfinite().all() and extreme.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_perfect_predictions_cost_nothing(loss):
    _, target, drawn = some_batch()
    raw = target.log().clamp(min=-80) if isinstance(loss, SpatialCrossEntropy) else target
    heatmaps = torch.stack([raw, raw], dim=1)
    assert loss(heatmaps, target, drawn).abs().max() < 1e-5
    assert (loss(heatmaps + torch.randn(heatmaps.shape, generator=generator()), target, drawn)[:2] > 1e-3).all()


@pytest.mark.parametrize("loss", [HeatmapMSE(), ForegroundMSE(), SpatialCrossEntropy()], ids=repr)
def test_an_image_without_drawn_joints_costs_nothing_and_teaches_nothing(loss):
    heatmaps, target, drawn = some_batch()
    heatmaps.requires_grad_()
    losses = loss(heatmaps, target, drawn)
    losses.mean().backward()
    assert float(losses[-1].detach()) == 0.0 and (losses[:2] > 0).all()
    assert heatmaps.grad.isfinite().all()
    assert not heatmaps.grad[-1].any() and heatmaps.grad[0].any()


def test_all_joints_asks_for_empty_maps_where_nothing_is_drawn():
    heatmaps, target, drawn = some_batch()
    for loss in (HeatmapMSE("all"), ForegroundMSE("all")):
        assert float(loss(heatmaps, target, drawn)[-1]) == pytest.approx(
            float(heatmaps[-1].square().mean()), rel=1e-5
        )


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_stacks_count_alike_and_images_do_not_mix(loss):
    heatmaps, target, drawn = some_batch()
    whole = loss(heatmaps, target, drawn)
    by_stack = [loss(heatmaps[:, [s]], target, drawn) for s in (0, 1)]
    assert torch.allclose(whole, (by_stack[0] + by_stack[1]) / 2, rtol=1e-5)
    for i in range(3):
        assert torch.allclose(whole[[i]], loss(heatmaps[[i]], target[[i]], drawn[[i]]), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_half_precision_heatmaps_give_full_precision_losses(loss):
    heatmaps, target, drawn = some_batch()
    rough = heatmaps.bfloat16()
    assert torch.equal(loss(rough, target, drawn), loss(rough.float(), target, drawn))


def test_the_published_target_makes_empty_maps_cost_2_114():
    """Peak 30 and sigma 1.75 on 64 × 64 cells: 30² · pi · 1.75² / 64² (paper.md §3), and shifts of 1, 2, 4 cells."""
    codec, shape = HeatmapCodec(sigma=1.75, peak=30.0), (64, 64)
    joints = torch.rand(2, 16, 2, generator=generator()) * 120 + 68
    visible = torch.full((2, 16), 2, dtype=torch.uint8)
    target, drawn = codec.encode(joints, visible, shape), codec.has_target(joints, visible, shape)
    empty = HeatmapMSE()(torch.zeros(2, 2, 16, 64, 64), target, drawn)
    assert empty.tolist() == pytest.approx([2.114, 2.114], abs=2e-3)
    for cells, cost in ((1, 0.33), (2, 1.18), (4, 3.08)):
        moved = codec.encode(joints + torch.tensor([4.0 * cells, 0.0]), visible, shape)
        assert HeatmapMSE()(moved[:, None], target, drawn).tolist() == pytest.approx([cost, cost], abs=6e-3)


def test_shown_maps_are_raw_for_mse_and_probabilities_for_cross_entropy():
    heatmaps, _, _ = some_batch()
    assert HeatmapMSE().to_heatmaps(heatmaps) is heatmaps and ForegroundMSE().to_heatmaps(heatmaps) is heatmaps
    shown = SpatialCrossEntropy().to_heatmaps(heatmaps)
    assert shown.shape == heatmaps.shape and (shown >= 0).all()
    assert torch.allclose(shown.sum(dim=(-2, -1)), torch.ones(3, 2, 4))
    assert torch.equal(shown.flatten(3).argmax(dim=3), heatmaps.flatten(3).argmax(dim=3))
