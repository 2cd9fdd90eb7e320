"""Whether a probability of failure is true, judged on images that it was not fitted to."""

import numpy as np
import pytest

from llpp.reliability.calibration import CalibrationSet
from llpp.reliability.reliability_bins import ReliabilityBins, cross_fit_probability, measure_reliability


def draw(count, rng):
    """Images that fail as often as their loss says, each a group of its own."""
    loss = rng.random(count)
    return CalibrationSet(loss, rng.random(count) < loss, np.arange(count).astype(str))


def test_a_true_probability_is_within_its_intervals():
    bins = measure_reliability(draw(4000, np.random.default_rng(0)))
    assert bins.count.tolist() == [400] * 10
    assert (np.diff(bins.probability) >= 0).all()
    assert ((bins.low <= bins.probability) & (bins.probability <= bins.high)).sum() >= 8
    assert ((bins.low <= bins.share) & (bins.share <= bins.high)).all()
    assert bins.mean_gap < 0.04


def test_no_image_is_judged_by_a_curve_that_knows_it_or_its_group():
    calibration = draw(200, np.random.default_rng(1))
    group = np.repeat(np.arange(100), 2).astype(str)
    before = cross_fit_probability(CalibrationSet(calibration.score, calibration.failed, group))
    changed = calibration.failed.copy()
    changed[[20, 21]] = ~changed[[20, 21]]
    after = cross_fit_probability(CalibrationSet(calibration.score, changed, group))
    assert np.array_equal(before[[20, 21]], after[[20, 21]])
    assert not np.array_equal(before, after), "the other images are judged by it"


def test_of_each_group_one_image_is_counted():
    """Four frames of each of 100 films: 400 images would make the intervals half as wide as they are."""
    few = draw(100, np.random.default_rng(3))
    films = CalibrationSet(np.repeat(few.score, 4), np.repeat(few.failed, 4), np.repeat(few.group, 4))
    found = measure_reliability(films)
    expected = measure_reliability(few)
    assert found.count.tolist() == expected.count.tolist() == [20] * 5
    assert found.high.tolist() == expected.high.tolist()


def test_the_mean_gap_is_over_images():
    """30 images are off by 0.2, and 10 by 0.4: (30 · 0.2 + 10 · 0.4) / 40."""
    shares = np.array([0.3, 0.5])
    bins = ReliabilityBins(np.array([0.1, 0.9]), shares, shares, shares, np.array([30, 10]))
    assert bins.mean_gap == pytest.approx(0.25)


def test_few_images_have_no_probability():
    assert measure_reliability(draw(60, np.random.default_rng(2))) is None, "four fifths of them are fewer than 50"
    nothing = CalibrationSet(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=str))
    assert measure_reliability(nothing) is None
