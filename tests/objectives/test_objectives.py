"""Objectives against the closed forms of paper.md §3b, written out again here."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from llpp.errors import ConfigError
from llpp.objectives.kl import KLObjective
from llpp.objectives.mse import MSEObjective
from llpp.objectives.ranking import RankingObjective

ALL = [MSEObjective(), *(kind(pairs=p) for kind in (KLObjective, RankingObjective) for p in ("halves", "all"))]
PAIRED = ALL[1:]
NAMES = ["mse", "kl-halves", "kl-all", "ranking-halves", "ranking-all"]


def t(*values):
    return torch.tensor(values, dtype=torch.float32)


def with_gradient(objective, predicted, target):
    """Value and gradient of the predictions."""
    predicted = predicted.clone().requires_grad_()
    value = objective(predicted, target)
    value.backward()
    return float(value.detach()), predicted.grad


def pair_list(batch, pairs):
    if pairs == "all":
        return [(i, j) for i in range(batch) for j in range(i + 1, batch)]
    return [(i, i + batch // 2) for i in range(batch // 2)]


def last_layer(batch, features=6, seed=0):
    """theta, w, b and losses; predictions are theta · w + b."""
    rng = np.random.default_rng(seed)
    theta, weight = rng.normal(size=(batch, features)), rng.normal(size=features)
    return theta, weight, float(rng.normal()), rng.gamma(2.0, 0.5, size=batch)


def kl_coefficient(difference, first, second):
    """q - t."""
    return special.expit(difference) - first / (first + second)


def ranking_coefficient(difference, first, second, margin=1.0):
    sign = np.sign(first - second)
    return -sign * float(sign * difference < margin)


@pytest.mark.parametrize("pairs", ["halves", "all"])
@pytest.mark.parametrize("batch", [2, 7, 16])
@pytest.mark.parametrize(
    ("objective", "coefficient"), [(KLObjective, kl_coefficient), (RankingObjective, ranking_coefficient)]
)
def test_gradients_are_the_closed_forms(objective, coefficient, batch, pairs):
    """grad w = mean over pairs of c (theta_i - theta_j); grad p_i = c / P, grad p_j = -c / P; grad b = 0."""
    theta, weight, bias, losses = last_layer(batch)
    predicted = theta @ weight + bias
    where = pair_list(batch, pairs)
    by_weight, by_prediction = np.zeros_like(weight), np.zeros(batch)
    for i, j in where:
        c = coefficient(predicted[i] - predicted[j], losses[i], losses[j])
        by_weight += c * (theta[i] - theta[j]) / len(where)
        by_prediction[[i, j]] += np.array([c, -c]) / len(where)

    w, b = torch.tensor(weight).requires_grad_(), torch.tensor(bias).requires_grad_()
    p = torch.tensor(theta) @ w + b
    p.retain_grad()
    objective(pairs=pairs)(p, torch.tensor(losses)).backward()
    assert p.grad.numpy() == pytest.approx(by_prediction, abs=1e-6)
    assert w.grad.numpy() == pytest.approx(by_weight, abs=1e-5)
    assert float(b.grad) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("pairs", ["halves", "all"])
def test_kl_is_the_divergence_of_true_from_predicted_shares(pairs):
    theta, weight, bias, losses = last_layer(9)
    predicted = theta @ weight + bias
    expected = [
        stats.entropy([losses[i], losses[j]], special.softmax([predicted[i], predicted[j]]))
        for i, j in pair_list(9, pairs)
    ]
    found = KLObjective(pairs)(torch.tensor(predicted), torch.tensor(losses))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_kl_by_hand():
    """Losses 3 and 1, equal predictions: 3/4 ln(3/2) + 1/4 ln(1/2); the other order of the pair is the same."""
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert float(KLObjective()(t(5, 5), t(3, 1))) == pytest.approx(expected, rel=1e-5)
    assert float(KLObjective()(t(5, 5), t(1, 3))) == pytest.approx(expected, rel=1e-5)


def test_ranking_by_hand():
    """Pairs (0, 2): l_0 < l_2, p_0 - p_2 = 0.5: 1.5. (1, 3): l_1 > l_3, difference 0.25: 0.75."""
    predicted, losses = t(2, 0.75, 1.5, 0.5), t(1, 3, 2, 1)
    assert float(RankingObjective()(predicted, losses)) == pytest.approx((1.5 + 0.75) / 2)
    assert float(RankingObjective(margin=0.25)(predicted, losses)) == pytest.approx((0.75 + 0.0) / 2)
    # all: also (0, 1) right order needed <: 1.25 + 1; (0, 3) tie: 0; (1, 2) -0.75: 1.75; (2, 3) 1: 0
    assert float(RankingObjective(pairs="all")(predicted, losses)) == pytest.approx((2.25 + 1.5 + 1.75 + 0.75) / 6)


def test_ranking_is_content_beyond_its_margin():
    value, gradient = with_gradient(RankingObjective(margin=0.5), t(3, 1), t(0.2, 0.1))
    assert value == 0 and not gradient.any()


def test_mse_by_hand():
    value, gradient = with_gradient(MSEObjective(), t(1, 5), t(2, 2))
    assert value == pytest.approx((1 + 9) / 2) and gradient.tolist() == pytest.approx([-1.0, 3.0])


def test_halves_pair_i_with_i_plus_half_and_leave_an_odd_one_out():
    predicted, losses = t(0.3, -1, 2, 0.7, 9), t(1, 2, 3, 4, 5)
    pairs = [KLObjective()(predicted[[i, j]], losses[[i, j]]) for i, j in ((0, 2), (1, 3))]
    value, gradient = with_gradient(KLObjective("halves"), predicted, losses)
    assert value == pytest.approx(float(sum(pairs)) / 2, rel=1e-5)
    assert gradient[4] == 0 and gradient[:4].all()


def test_all_takes_every_pair_once():
    predicted, losses = t(0.3, -1, 2, 0.7), t(1, 2, 3, 4)
    pairs = [KLObjective()(predicted[[i, j]], losses[[i, j]]) for i in range(4) for j in range(i)]
    assert float(KLObjective("all")(predicted, losses)) == pytest.approx(float(sum(pairs)) / 6, rel=1e-5)


def test_unknown_pairs_are_refused():
    for objective in (KLObjective, RankingObjective):
        with pytest.raises(ConfigError, match=r"'some'.*halves.*all"):
            objective(pairs="some")


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
@pytest.mark.parametrize("batch", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("losses", ["random", "equal", "zero", "one zero"])
def test_any_batch_gives_a_finite_scalar_and_gradient(objective, batch, losses):
    generator = torch.Generator().manual_seed(batch)
    target = torch.rand(batch, generator=generator)
    if losses != "random":
        target = {"equal": torch.full_like(target, 0.7), "zero": target * 0, "one zero": target}[losses]
    if losses == "one zero":
        target[:1] = 0
    value = objective(predicted := torch.randn(batch, generator=generator).requires_grad_(), target)
    value.backward()
    assert value.shape == () and value.isfinite() and predicted.grad.isfinite().all()


@pytest.mark.parametrize("objective", PAIRED, ids=NAMES[1:])
@pytest.mark.parametrize("batch", [0, 1])
def test_nobody_to_compare_with_gives_exactly_nothing(objective, batch):
    value, gradient = with_gradient(objective, torch.full((batch,), 3.0), torch.ones(batch))
    assert value == 0 and gradient.shape == (batch,) and not gradient.any()


@pytest.mark.parametrize("objective", PAIRED, ids=NAMES[1:])
@pytest.mark.parametrize(
    "target", [(1e30, 1e-30), (1e30, 1e30), (1e-38, 1e-38), (1e-38, 0.0), (1e-45, 1e30), (0.0, 1.0)]
)
@pytest.mark.parametrize("predicted", [(0.0, 0.0), (1e30, -1e30), (-1e30, 1e30), (1e-38, 0.0), (90.0, -90.0)])
def test_huge_and_tiny_numbers_stay_finite(objective, target, predicted):
    value, gradient = with_gradient(objective, t(*predicted), t(*target))
    assert np.isfinite(value) and gradient.isfinite().all() and gradient.abs().max() <= 1


@pytest.mark.parametrize("losses", [(0.4, 0.4), (0.0, 0.0), (1e-38, 1e-38), (1e30, 1e30)])
def test_equal_losses_pull_predictions_together_under_kl_and_do_nothing_under_ranking(losses):
    value, gradient = with_gradient(KLObjective(), t(2, -1), t(*losses))
    q = special.expit(3)
    assert value == pytest.approx(stats.entropy([0.5, 0.5], [q, 1 - q]), rel=1e-5)
    assert gradient.tolist() == pytest.approx([q - 0.5, 0.5 - q], rel=1e-5)
    value, gradient = with_gradient(RankingObjective(), t(2, -1), t(*losses))
    assert value == 0 and not gradient.any()


def test_the_optimum_of_kl_is_the_log_of_the_loss():
    losses = torch.tensor(np.random.default_rng(0).gamma(2.0, 0.3, size=12))
    predicted = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([predicted], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        value = KLObjective("all")(predicted, losses)
        value.backward()
        return value

    optimizer.step(closure)
    found, expected = predicted.detach(), losses.log()
    assert (found - found.mean()).numpy() == pytest.approx((expected - expected.mean()).numpy(), abs=5e-3)
    assert float(KLObjective("all")(expected, losses)) == pytest.approx(0.0, abs=1e-6)


loss_lists = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-5, 5, width=32), min_size=n, max_size=n),
        st.lists(st.floats(0.015625, 64, width=32), min_size=n, max_size=n),
    )
)


@settings(deadline=None, max_examples=50)
@given(
    values=loss_lists,
    factor=st.sampled_from([1e-20, 1e-3, 0.3, 900.0, 1e20]),
    pairs=st.sampled_from(["halves", "all"]),
)
def test_kl_does_not_care_about_the_unit_of_the_loss(values, factor, pairs):
    predicted, losses = t(*values[0]), t(*values[1])
    plain, scaled = (with_gradient(KLObjective(pairs), predicted, x) for x in (losses, losses * factor))
    assert scaled[0] == pytest.approx(plain[0], abs=1e-5)
    assert torch.allclose(scaled[1], plain[1], atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(values=loss_lists, offset=st.floats(-20, 20, width=32))
def test_pairs_only_see_differences_of_predictions_and_no_value_is_negative(values, offset):
    predicted, losses = t(*values[0]), t(*values[1])
    for objective in PAIRED:
        value = float(objective(predicted, losses))
        assert value >= -1e-6
        assert float(objective(predicted + offset, losses)) == pytest.approx(value, abs=1e-4)


@settings(deadline=None, max_examples=50)
@given(values=loss_lists)
def test_a_step_against_the_gradient_orders_a_pair_as_its_losses(values):
    """From equal predictions, the image with the larger loss rises."""
    losses = t(*values[1])[:2]
    for objective in ALL:
        _, gradient = with_gradient(objective, t(0, 0), losses)
        assert torch.sign(gradient[1] - gradient[0]) in (torch.sign(losses[0] - losses[1]), 0)
        if abs(losses[0] - losses[1]) > 0.01 * losses.sum():
            assert gradient[0] != gradient[1]


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
def test_targets_get_no_gradient(objective):
    predicted, target = torch.randn(6).requires_grad_(), torch.rand(6).requires_grad_()
    objective(predicted, target).backward()
    assert target.grad is None and predicted.grad.any()


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
def test_half_precision_predictions_are_accepted(objective):
    generator = torch.Generator().manual_seed(1)
    rough, target = torch.randn(8, generator=generator).bfloat16(), torch.rand(8, generator=generator)
    value, gradient = with_gradient(objective, rough, target)
    assert gradient.dtype == torch.bfloat16 and gradient.isfinite().all()
    assert value == pytest.approx(with_gradient(objective, rough.float(), target)[0], rel=1e-6)
