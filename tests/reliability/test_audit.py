"""Images drawn with known probabilities give the pool's mean without bias, and an interval that holds it."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from llpp.reliability.audit import (
    compute_weights,
    draw_by_chance,
    estimate_mean_quality,
    estimate_pool_quality,
)

NAN = float("nan")


def test_weights_are_those_worked_out_by_hand():
    """Three images drawn with ½, ¼ and ¼: the first, then the second with ¼ of the ½ that is left."""
    first, second = compute_weights(np.array([0.5, 0.5]), 3)
    assert first == pytest.approx(1 + 1 / 2 * (1 / (3 * 0.5) - 1)) == pytest.approx(5 / 6)
    assert second == pytest.approx(1 + 1 * (1 / (2 * 0.5) - 1)) == pytest.approx(1)
    assert compute_weights(np.array([1 / 5, 1 / 4, 1 / 3]), 5).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("centre", [0.0, 0.6])
def test_over_all_ways_to_draw_two_of_three_the_mean_estimate_is_the_pools_mean(centre):
    share = np.array([0.5, 0.3, 0.2])
    quality = np.array([0.1, 0.9, 0.4])
    expected = 0.0
    for first, second in permutations(range(3), 2):
        probability = np.array([share[first], share[second] / (1 - share[first])])
        estimate = estimate_pool_quality(probability, 3, quality[[first, second]], centre=centre)
        expected += probability.prod() * estimate.value
    assert expected == pytest.approx(quality.mean())


def test_probabilities_are_those_of_the_normal_scores_of_ranks():
    """Of three, the scores are Φ⁻¹(1/6), 0 and Φ⁻¹(5/6); equal losses share the mean of their ranks."""
    weights = np.exp(0.5 * stats.norm.ppf([1 / 6, 3 / 6, 5 / 6]))
    draws = draw_by_chance(3, 3, np.random.default_rng(1), np.array([7.0, 9.0, 8.0]), tilt=0.5)
    left = weights[[0, 2, 1]].tolist()
    for place, probability in zip(draws.places.tolist(), draws.probability.tolist(), strict=True):
        assert probability == pytest.approx(left[place] / sum(left))
        left[place] = 0.0
    tied = draw_by_chance(4, 1, np.random.default_rng(1), np.array([5.0, 5.0, 5.0, 5.0]), tilt=0.5)
    assert tied.probability.tolist() == [0.25]


@pytest.mark.slow
def test_images_are_drawn_as_often_as_their_probabilities_say():
    loss = np.array([1.0, 2.0, 3.0, 4.0])
    expected = np.exp(0.5 * stats.norm.ppf((np.arange(4) + 0.5) / 4))
    expected /= expected.sum()
    firsts = np.zeros(4)
    for seed in range(2000):
        firsts[draw_by_chance(4, 2, np.random.default_rng(seed), loss, 0.5).places[0]] += 1
    error = np.sqrt(expected * (1 - expected) / 2000)
    assert (np.abs(firsts / 2000 - expected) < 4 * error).all()


def test_predicted_losses_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="1 of 3 predicted losses are no numbers"):
        draw_by_chance(3, 1, np.random.default_rng(0), np.array([1.0, NAN, 2.0]), 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "tilt", "centre"), [(5, 0.0, 0.8), (13, 0.0, 0.8), (5, 0.5, 0.8), (13, 0.5, 0.8), (50, 0.5, 0.0)]
)
def test_in_simulations_the_estimate_is_unbiased_and_its_interval_holds_the_truth(number, tilt, centre):
    """A pool of 300 in which 30 % fail, as drawn figures do: 95 of 100 intervals have to hold its mean.

    Where the guess of it is far off, unequal weights make the estimate vary more, and the interval has to know.
    """
    rng = np.random.default_rng(number)
    quality = np.where(rng.random(300) < 0.3, 0.1, 0.9) * rng.random(300) ** 0.1
    loss = rng.normal(size=300) - 2 * quality
    found = []
    held = 0
    for _ in range(400):
        draws = draw_by_chance(300, number, rng, loss, tilt)
        estimate = estimate_pool_quality(draws.probability, 300, quality[draws.places], centre=centre)
        found.append(estimate.value)
        held += estimate.low <= quality.mean() <= estimate.high
    assert abs(np.mean(found) - quality.mean()) < 4 * np.std(found) / len(found) ** 0.5
    assert held >= 0.93 * 400


def test_a_pool_that_was_drawn_whole_is_known_exactly():
    draws = draw_by_chance(4, 4, np.random.default_rng(0), np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    estimate = estimate_pool_quality(draws.probability, 4, np.array([0.0, 1.0, 1.0, 1.0]))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.75, 0.75, 0.75))


def test_five_images_that_are_all_right_do_not_prove_that_all_are():
    """The interval is Student's over these five and two pretended ones, of quality 0 and 1."""
    count = 10**9
    estimate = estimate_pool_quality(1 / (count - np.arange(5)), count, np.ones(5))
    with_pretended = np.array([1, 1, 1, 1, 1, 0, 1])
    low, _ = stats.t.interval(0.95, 6, with_pretended.mean(), stats.sem(with_pretended))
    assert estimate.value == 1
    assert estimate.low == pytest.approx(low, abs=1e-6)
    assert estimate.high == 1
    tested = estimate_mean_quality(np.array([1, 1, NAN, 1, 1, 1]))
    assert (tested.value, tested.low, tested.high) == pytest.approx((1, low, 1))


def test_images_without_a_label_are_left_out_and_those_that_wait_for_one_widen_the_interval():
    probability = 1 / (100 - np.arange(6))
    quality = np.array([0.5, 0.7, NAN, 0.9, NAN, 0.3])
    left_out = estimate_pool_quality(probability, 100, quality)
    assert left_out.value == pytest.approx((0.5 + 0.7 + 0.9 + 0.3) / 4)
    assert (left_out.measured, left_out.unknown) == (4, 0)
    waiting = estimate_pool_quality(probability, 100, quality, np.array([False, False, True, False, False, False]))
    assert waiting.value == left_out.value and waiting.unknown == 1
    # As if the label showed a failure, or a joint in every right place.
    failed = np.where(np.arange(6) == 2, 0.0, quality)
    right = np.where(np.arange(6) == 2, 1.0, quality)
    assert waiting.low == pytest.approx(estimate_pool_quality(probability, 100, failed).low)
    assert waiting.high == pytest.approx(estimate_pool_quality(probability, 100, right).high)


def test_one_measured_image_says_nothing():
    assert estimate_pool_quality(np.array([0.1, 1 / 9]), 10, np.array([0.5, NAN])) is None
