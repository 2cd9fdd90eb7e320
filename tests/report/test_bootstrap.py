import itertools
import statistics

import numpy as np
import pytest

from llpp.report.bootstrap import RESAMPLES, compute_paired_difference, compute_percentile_interval, resample_means


def test_two_values_have_four_resamples():
    assert sorted(resample_means(np.array([1.0, 3.0]))) == [1, 2, 2, 3]


def test_three_values_have_27_resamples():
    # of 0, 3, 9: sums 0; 3 three times; 6 three times; 9 = 3+3+3 and 0+0+9 (1 + 3); 12 = 0+3+9 (6); 15 = 3+3+9 (3);
    # 18 = 0+9+9 (3); 21 = 3+9+9 (3); 27
    sums = [0, *[3] * 3, *[6] * 3, *[9] * 4, *[12] * 6, *[15] * 3, *[18] * 3, *[21] * 3, 27]
    assert sorted(resample_means(np.array([0.0, 3.0, 9.0]))) == pytest.approx([s / 3 for s in sums])


def test_with_three_pairs_the_interval_is_their_range():
    """The least of 27 means has a share of 3.7 %, more than the 2.5 % to be left out."""
    found = compute_paired_difference([0.5, 0.7, 0.6], [0.4, 0.5, 0.3])
    assert found.mean == pytest.approx(0.2) and found.pairs == 3
    assert found.interval == pytest.approx((0.1, 0.3)) and found.excludes_zero


def test_with_four_pairs_the_seventh_mean_from_each_end_is_taken():
    """Six of 256 are 2.3 %. Sums of 0, 1, 10, 100 from below: 0 once, 1 four times, 2 six times, so the 7th is 2.

    From above: 400 once, 310 four times, 301 four times, so the 7th is 301.
    """
    assert compute_paired_difference([0, 1, 10, 100], np.zeros(4)).interval == pytest.approx((2 / 4, 301 / 4))


def test_ends_leave_less_than_a_fortieth_outside():
    assert compute_percentile_interval(np.arange(40.0)) == (0, 39)
    assert compute_percentile_interval(np.arange(41.0)) == (1, 39)
    assert compute_percentile_interval(np.arange(10_000.0)) == (249, 9750)


@pytest.mark.parametrize("pairs", [3, 5, 6, 9])
def test_the_other_way_round_is_the_mirror_image(pairs):
    ours, theirs = np.random.default_rng(pairs).normal(size=(2, pairs))
    there, back = compute_paired_difference(ours, theirs), compute_paired_difference(theirs, ours)
    assert there.mean == -back.mean
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_pairing_matters():
    """Each seed gains 0.01, and seeds differ by far more: paired it shows, shuffled it does not."""
    base = [0.2, 0.5, 0.8]
    gained = [value + 0.01 for value in base]
    assert compute_paired_difference(gained, base).interval == pytest.approx((0.01, 0.01))
    assert not compute_paired_difference([gained[1], gained[2], gained[0]], base).excludes_zero


def test_many_pairs_come_close_to_the_normal_interval():
    values = np.random.default_rng(4).normal(0.3, 1, size=200)
    low, high = compute_paired_difference(values, np.zeros(200)).interval
    half = 1.96 * statistics.stdev(values) / 200**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert resample_means(values).shape == (RESAMPLES,)
    assert compute_paired_difference(values, np.zeros(200)).interval == (low, high)


def test_all_resamples_of_up_to_six_are_there():
    values = np.random.default_rng(6).normal(size=6)
    every = [sum(chosen) / 6 for chosen in itertools.product(values, repeat=6)]
    assert np.sort(resample_means(values)) == pytest.approx(np.sort(every))


def test_two_pairs_have_a_mean_but_no_interval():
    found = compute_paired_difference([0.5, 0.7], [0.4, 0.4])
    assert found.mean == pytest.approx(0.2) and found.pairs == 2
    assert found.interval is None and not found.excludes_zero


def test_what_float32_cannot_tell_apart_is_no_difference():
    """3/7 and 4/7 in two rounds average 1/2, but their float32 values do so only nearly."""
    averaged = (float(np.float32(3 / 7)) + float(np.float32(4 / 7))) / 2
    assert averaged != 0.5
    found = compute_paired_difference([averaged] * 3, [0.5] * 3)
    assert (found.mean, found.interval, found.excludes_zero) == (0, (0, 0), False)
