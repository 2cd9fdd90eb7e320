"""Intervals that decide what may be claimed: by hand, from tables, and by how often they are wrong."""

import numpy as np
import pytest

from llpp.report.evidence import (
    combine_directions,
    compare_with_random_selections,
    compute_correlation_interval,
    compute_mean_interval,
    format_interval,
)


def test_a_mean_has_students_interval():
    """Mean 0.2, standard deviation 0.1; t of two degrees of freedom is 4.303, and 4.303 · 0.1 / √3 = 0.248."""
    found = compute_mean_interval([0.1, np.nan, 0.2, 0.3])
    assert (found.value, found.low, found.high) == pytest.approx((0.2, -0.0484, 0.4484), abs=1e-4)
    assert found.direction == 0 and format_interval(found) == "−0.048 to +0.448"
    assert compute_mean_interval([0.19, 0.2, 0.21]).direction == 1
    assert compute_mean_interval([-0.19, -0.2, -0.21]).direction == -1
    assert compute_mean_interval([0.1, 0.3]) is None


def test_what_float32_cannot_tell_apart_is_no_difference():
    averaged = (float(np.float32(3 / 7)) + float(np.float32(4 / 7))) / 2
    assert averaged != 0.5 and compute_mean_interval([averaged - 0.5] * 3).direction == 0


def test_a_correlation_of_few_images_may_be_chance():
    """Of 0.17 over 40 images, Fisher's z is 0.1717 ± 1.96 · √(1.06 / 37) = 0.1717 ± 0.3317."""
    found = compute_correlation_interval(0.17, 40)
    assert (found.low, found.high) == pytest.approx((-0.1587, 0.4648), abs=1e-4)
    assert found.direction == 0
    assert compute_correlation_interval(0.17, 400).direction == 1
    assert compute_correlation_interval(-0.9, 10).direction == -1
    assert compute_correlation_interval(1.0, 10).high <= 1
    # of 120 orders of five, 10 have ρ = ±0.9 or ±1, whose z is above 1.96 · √(1.06 / 2) = 1.427: 8 %, not 5 %
    assert compute_correlation_interval(0.9, 5) is None and compute_correlation_interval(np.nan, 40) is None


def mark(count):
    return np.arange(20) < count


@pytest.mark.parametrize(("failures", "direction"), [(3, 0), (4, 0), (5, -1), (10, -1)])
def test_a_selection_of_failures_alone_is_a_claim_once_random_ones_are_that_bad_too_rarely(failures, direction):
    """Of 20 images 10 fail. 4 random ones all fail in 210 of 4,845 cases (4.3 %), 5 in 252 of 15,504 (1.6 %)."""
    quality = np.where(mark(10), 0.0, 1.0)
    assert compare_with_random_selections(quality, mark(failures)).direction == direction
    # the same from the other end
    assert compare_with_random_selections(1 - quality, mark(failures)).direction == -direction


def test_a_selection_is_compared_with_the_mean_of_all_known_candidates():
    quality = np.where(mark(10), 0.0, 1.0)
    quality[19] = np.nan
    # 5 of 19 known ones have 0, where the mean is 9 / 19
    assert compare_with_random_selections(quality, mark(5)).value == pytest.approx(-9 / 19, abs=1e-9)
    assert compare_with_random_selections(quality, mark(20)) is None
    assert compare_with_random_selections(quality, mark(0)) is None


@pytest.mark.slow
def test_random_selections_are_seldom_taken_for_more_than_chance():
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(200):
        quality = rng.integers(0, 8, size=60) / 14
        selected = rng.permutation(60) < 12
        claims += compare_with_random_selections(quality, selected).direction != 0
    # 5 % of 200 are 10; more than 20 would happen once in a thousand times
    assert claims <= 20


@pytest.mark.slow
def test_the_same_numbers_give_the_same_interval():
    quality = np.random.default_rng(1).random(200)
    first, second = (compare_with_random_selections(quality, np.arange(200) < 40) for _ in range(2))
    assert first == second


def test_a_few_runs_claim_only_what_all_of_them_show():
    up, none, down = (compute_mean_interval(np.array([1.0, 1.1, 0.9]) * sign) for sign in (1, 0, -1))
    assert combine_directions([up, up]) == 1 and combine_directions([down]) == -1
    assert combine_directions([up, none]) == combine_directions([up, down]) == 0
