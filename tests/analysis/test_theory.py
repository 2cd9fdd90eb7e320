"""The mathematics of both objectives against hand-worked values, other formulas, autograd and simulation."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from llpp.analysis.theory.gamma_pairs import (
    Gamma,
    compute_expected_kl_gradient,
    expected_share,
    expected_share_closed,
    expected_share_quadrature,
    pair_probability,
    pair_probability_closed,
    pair_probability_quadrature,
    sample_expected_share,
)
from llpp.analysis.theory.gradients import compute_weight_gradient, kl_coefficient, ranking_coefficient, true_share
from llpp.analysis.theory.observed import compute_ks_distance, compute_pair_share, fit_gamma, measure_reliability
from llpp.errors import ConfigError
from llpp.objectives.kl import KLObjective
from llpp.objectives.ranking import RankingObjective

PAPER = Gamma(4, 15)
DELTAS = np.array([0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15])
TABLE_1 = np.array([0.094, 0.185, 0.274, 0.358, 0.437, 0.527, 0.607])
FRACTIONS = np.array([0, 1e-6, 0.01, 0.2, 1, 3, 8])  # of the mean loss


@pytest.mark.parametrize(
    ("objective", "coefficient"),
    [
        (KLObjective(), kl_coefficient),
        (RankingObjective(), ranking_coefficient),
        (RankingObjective(margin=0.3), lambda *pair: ranking_coefficient(*pair, margin=0.3)),
    ],
)
def test_gradients_are_those_of_the_training_losses(objective, coefficient):
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(40, 3))
    losses = np.append(rng.gamma(2, 0.5, size=36), [0.7, 0, 0, 0.7])
    losses[19] = 0.7  # image 19 meets 39: a tie; 17 and 18 meet zeros
    weight = torch.tensor(rng.normal(size=3), dtype=torch.float32, requires_grad=True)
    objective(torch.tensor(theta, dtype=torch.float32) @ weight, torch.tensor(losses, dtype=torch.float32)).backward()
    predicted = theta @ weight.detach().numpy()
    coefficients = coefficient(predicted[:20] - predicted[20:], losses[:20], losses[20:])
    gradients = [compute_weight_gradient(c, theta[i], theta[i + 20]) for i, c in enumerate(coefficients)]
    expected = np.mean(gradients, axis=0)
    assert weight.grad.numpy() == pytest.approx(expected, abs=1e-5)
    assert expected.any()


def test_both_coefficients_by_hand():
    """At p_i - p_j = ln 1.5 the predicted share is 0.6."""
    d = np.log(1.5)
    assert float(kl_coefficient(d, 0.9, 0.1)) == pytest.approx(-0.3)
    assert float(kl_coefficient(d, 6, 4)) == pytest.approx(0, abs=1e-15)
    assert float(kl_coefficient(d, 0, 0)) == pytest.approx(0.1), "two losses of zero are equal"
    assert ranking_coefficient(d, [0.51, 0.49, 0.5], [0.49, 0.51, 0.5]).tolist() == [-1, 1, 0]
    assert ranking_coefficient([0.99, 1.0, -1.0], [2, 2, 1], [1, 1, 2]).tolist() == [-1, 0, 0]
    assert true_share([1, 0], [3, 2]).tolist() == [0.25, 0]


def test_pair_probabilities_by_hand():
    """α = 1: 1 - e^-x, memoryless; α = 2: half of the time one event is left, half of the time two."""
    x = np.array([0.0, 0.3, 2.0])
    assert pair_probability_closed(x / 7, Gamma(1, 7)) == pytest.approx(1 - np.exp(-x))
    assert pair_probability_closed(x / 7, Gamma(2, 7)) == pytest.approx(1 - np.exp(-x) * (1 + x / 2))


@pytest.mark.parametrize("alpha", [0.7, 4, 5.3])
def test_pair_probabilities_are_the_integral_of_the_bessel_density(alpha):
    """The difference of two Gamma variables has a known density with a modified Bessel function."""
    gamma = Gamma(alpha, 15)
    x = 1.7

    def density(z):
        return (z / 2) ** (alpha - 0.5) * special.kv(alpha - 0.5, z) / (np.sqrt(np.pi) * special.gamma(alpha))

    expected = 2 * integrate.quad(density, 0, x, epsabs=1e-12)[0]
    assert float(pair_probability(x / 15, gamma)) == pytest.approx(expected, abs=1e-8)


def test_the_papers_table_1():
    """All but the first are the paper's to three decimals; that one is 0.09347, and 0.094 if rounded twice."""
    probabilities = pair_probability(DELTAS, PAPER)
    shown = [f"{p:.4f}" for p in probabilities]
    assert probabilities[1:].round(3).tolist() == TABLE_1[1:].tolist()
    assert shown == ["0.0935", "0.1853", "0.2739", "0.3582", "0.4369", "0.5268", "0.6065"]
    assert np.abs(probabilities - TABLE_1).max() < 5.5e-4


@pytest.mark.parametrize("beta", [0.5, 15, 300])
@pytest.mark.parametrize("alpha", [1, 2, 3, 4, 7, 12, 50, 300, 1000])
def test_closed_forms_agree_with_quadrature(alpha, beta):
    gamma = Gamma(alpha, beta)
    delta = FRACTIONS * gamma.mean
    gap = pair_probability_closed(delta, gamma) - pair_probability_quadrature(delta, gamma)
    assert np.abs(gap).max() < 1e-8
    closed = expected_share_closed(delta, gamma)
    trusted = np.isfinite(closed)
    assert trusted[:4].all() and (trusted | (beta * delta > 25)).all(), "the closed form holds where the docs say so"
    assert np.abs(closed - expected_share_quadrature(delta, gamma))[trusted].max() < 1e-8
    assert np.isfinite(expected_share(delta, gamma)).all()


def test_only_integers_have_closed_forms():
    assert np.isnan(pair_probability_closed([0.1, 0.2], Gamma(2.5, 1))).all()
    assert np.isnan(expected_share_closed([0.1, 0.2], Gamma(2.5, 1))).all()
    between = pair_probability(0.1, Gamma(2.5, 15))
    assert pair_probability(0.1, Gamma(3, 15)) < between < pair_probability(0.1, Gamma(2, 15))


def test_expected_shares_by_hand():
    """α = 1: x e^x E₁(x), and E₁(1) = 0.219383934 (Abramowitz & Stegun, table 5.1)."""
    assert float(expected_share(0.2, Gamma(1, 5))) == pytest.approx(0.5 + np.e * 0.219383934 / 2, abs=1e-8)
    assert expected_share([0.0, 0.1, -0.1], PAPER) == pytest.approx([0.5, *_symmetric(0.1)])
    assert float(expected_share(1e-9, PAPER)) == pytest.approx(0.5, abs=1e-7)
    assert float(expected_share(40.0, PAPER)) > 0.99, "the smaller loss is small compared with a large difference"


def _symmetric(delta):
    share = float(expected_share(delta, PAPER))
    return share, 1 - share


@pytest.mark.parametrize(("alpha", "delta"), [(1, 0.05), (2.5, 0.2), (4, 0.1), (4, 0.4)])
def test_expectations_are_those_of_simulated_pairs(alpha, delta):
    gamma = Gamma(alpha, 15)
    rng = np.random.default_rng(3)
    first, second = rng.gamma(alpha, 1 / 15, (2, 1_000_000))
    within = (np.abs(first - second) <= delta).mean()
    probability = float(pair_probability(delta, gamma))
    assert abs(within - probability) < 4 * np.sqrt(probability * (1 - probability) / len(first))
    near = np.abs(first - second - delta) < 0.02 * delta + 0.001  # the slope over such a narrow band cancels out
    shares = (first / (first + second))[near]
    error = shares.std() / np.sqrt(len(shares))
    assert abs(shares.mean() - float(expected_share(delta, gamma))) < 4 * error + 2e-4
    mean, error = sample_expected_share(delta, gamma, rng)
    assert abs(mean - float(expected_share(delta, gamma))) < 4 * error < 0.005


def test_the_expected_gradient_falls_with_the_difference_and_vanishes_at_the_expected_share():
    assert (np.diff(compute_expected_kl_gradient(0.6, DELTAS, PAPER)) < 0).all()
    assert compute_expected_kl_gradient(expected_share(DELTAS, PAPER), DELTAS, PAPER) == pytest.approx(0)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 1e5), st.floats(1e-3, 1e3), st.floats(0, 20))
@example(10.0, 1.0, 6.0)  # whose terms add up to 1.0000000000000016
def test_probabilities_and_shares_stay_in_their_ranges(alpha, beta, fraction):
    gamma = Gamma(alpha, beta)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= float(pair_probability(fraction * gamma.mean, gamma)) <= 1
        assert 0.5 <= float(expected_share(fraction * gamma.mean, gamma)) <= 1


@pytest.mark.parametrize("alpha", [14_000.5, 1e12])
def test_narrow_gammas_have_normal_differences(alpha):
    gamma = Gamma(alpha, 3)
    deviation = np.sqrt(2 * alpha) / 3
    assert pair_probability([0.1 * deviation, deviation], gamma) == pytest.approx([0.0796557, 0.6826895], abs=2e-5)


@pytest.mark.parametrize(("alpha", "beta", "name"), [(0, 1, "alpha"), (2, -1, "beta"), (float("nan"), 1, "alpha")])
def test_impossible_gammas_are_refused(alpha, beta, name):
    with pytest.raises(ConfigError, match=rf"{name}=.* is invalid; expected a finite number above 0"):
        Gamma(alpha, beta)


def test_the_fit_finds_the_gamma_that_losses_came_from():
    losses = np.random.default_rng(0).gamma(4, 1 / 15, 40_000)
    fitted = fit_gamma(losses)
    # asymptotic variance of the shape: α / (n (α ψ'(α) - 1)), 0.00074 with α ψ'(α) = 1.1353; four deviations are 0.11
    assert fitted.alpha == pytest.approx(4, abs=0.11) and fitted.mean == pytest.approx(losses.mean())
    assert compute_ks_distance(losses, fitted) < 0.0068, "1.36 / √n: 19 of 20 samples stay below"
    assert compute_ks_distance(losses + 0.3, fit_gamma(losses + 0.3)) > 0.0068, "a shifted Gamma is none"


def test_the_share_of_like_pairs_by_hand():
    """Losses 1, 2, 4: differences 1, 2, 3."""
    assert compute_pair_share(np.array([4.0, 1.0, 2.0]), [0.5, 1, 2.5, 3]) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    losses = np.random.default_rng(1).gamma(4, 1 / 15, 3000)
    assert compute_pair_share(losses, DELTAS) == pytest.approx(TABLE_1, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 7, 100, 3001])
def test_log_losses_are_perfectly_reliable(count):
    losses = np.random.default_rng(count).gamma(2, 0.1, count)
    reliability = measure_reliability(np.log(losses) + 3.0, losses)
    for b in reliability.bins:
        assert b.true_ratio == pytest.approx(b.predicted_ratio) and b.true_share == pytest.approx(b.predicted_share)
    assert reliability.slope == pytest.approx(1) and reliability.share_error == pytest.approx(0, abs=1e-12)
    assert count > 3000 or sum(b.pairs for b in reliability.bins) == count * (count - 1) // 2


def test_reliability_by_hand():
    """Losses 1, 2, 4 predicted as 2 log l: ratios 4, 4, 16 where 2, 2, 4 are true."""
    losses = np.array([2.0, 4.0, 1.0])
    reliability = measure_reliability(2 * np.log(losses), losses, bins=2)
    near, far = reliability.bins
    assert (near.pairs, far.pairs) == (2, 1)
    assert (near.predicted_ratio, near.true_ratio) == pytest.approx((4, 2))
    assert (far.predicted_ratio, far.true_ratio) == pytest.approx((16, 4))
    assert (near.predicted_share, near.true_share) == pytest.approx((4 / 5, 2 / 3))
    assert reliability.slope == pytest.approx(0.5)
    assert reliability.share_error == pytest.approx((2 * (4 / 5 - 2 / 3) + 16 / 17 - 4 / 5) / 3)


def test_predictions_of_any_scale_or_none_are_judged():
    losses = np.random.default_rng(0).gamma(2, 0.1, 50)
    assert np.isnan(measure_reliability(np.zeros(50), losses).slope)
    assert 0 < measure_reliability(1e4 * np.log(losses), losses).slope < 1e-3
    assert measure_reliability(-np.log(losses), losses).slope == pytest.approx(-1)
