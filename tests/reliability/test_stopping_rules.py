"""Rules that say when labelling could have stopped, on numbers worked out by hand."""

import numpy as np
import pytest

from llpp.reliability.audit import PoolEstimate
from llpp.reliability.stopping import (
    compute_gain,
    estimate_by_calibration,
    fit_learning_curve,
    fit_quality,
    is_exhausted,
    is_stable,
)


def test_a_curve_is_found_again_from_its_points():
    """0.9 − 4 / √n at 100, 400, 900 and 1,600; at 2,500 it is 0.82, so 900 more labels add 0.02."""
    labelled = np.array([100.0, 400.0, 900.0, 1600.0])
    metric = np.array([0.5, 0.7, 0.9 - 4 / 30, 0.8])
    curve = fit_learning_curve(labelled, metric)
    assert (curve.limit, curve.scale, curve.exponent) == pytest.approx((0.9, 4.0, 0.5))
    assert compute_gain(labelled, metric, 900) == pytest.approx(0.02)


def test_a_curve_that_falls_promises_nothing():
    assert compute_gain(np.array([100, 200, 300, 400]), np.array([0.6, 0.5, 0.4, 0.3]), 100) == 0


def test_three_rounds_are_too_few_for_a_curve():
    assert compute_gain(np.array([100, 200, 300]), np.array([0.4, 0.5, 0.6]), 100) is None


@pytest.mark.parametrize(
    ("low", "high", "chosen", "exhausted"),
    [
        (0.60, 0.68, 0.62, True),  # the pool is at most 0.06 better
        (0.60, 0.75, 0.62, False),  # the interval holds 0, and may just be wide
        (0.65, 0.70, 0.62, False),  # chosen images are worse
        (0.40, 0.50, 0.62, True),  # they are even better
    ],
)
def test_failures_are_exhausted_where_chosen_images_are_shown_to_be_hardly_worse(low, high, chosen, exhausted):
    assert is_exhausted(PoolEstimate((low + high) / 2, low, high, 50, 0), chosen) == exhausted


def test_predictions_are_stable_when_two_rounds_in_a_row_have_left_them():
    assert not is_stable([None, 0.99])
    assert is_stable([None, 0.5, 0.98, 0.99])
    assert not is_stable([None, 0.99, 0.97, 0.99])
    assert not is_stable([0.99])


def test_the_fitted_quality_never_rises_with_the_predicted_loss():
    """Loss 2 has a mean of 0; 3 has 0.5, which would rise: both get the mean of the three images, 1/6."""
    losses, qualities = fit_quality(np.array([2.0, 1.0, 3.0, 2.0]), np.array([0.0, 1.0, 0.5, 0.0]))
    assert losses.tolist() == [1, 2, 3]
    assert qualities.tolist() == pytest.approx([1, 1 / 6, 1 / 6])


def test_a_pool_that_is_unlike_the_test_images_is_corrected_by_the_audit():
    """Test images of loss 1 fail, those of the pool do not; where all four were drawn, their mean is known: 0.75."""
    tested_loss = np.array([0.0, 1.0])
    tested_quality = np.array([1.0, 0.0])
    pool_loss = np.array([0.0, 0.0, 1.0, 1.0])
    quality = np.array([1.0, 0.0, 1.0, 1.0])
    probability = np.array([1 / 4, 1 / 3, 1 / 2, 1.0])
    draws = (pool_loss, pool_loss, quality, probability, np.zeros(4, dtype=bool))
    estimate = estimate_by_calibration(tested_loss, tested_quality, *draws)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.75, 0.75, 0.75))
    nothing = np.zeros(0)
    assert estimate_by_calibration(nothing, nothing, *draws) is None


def test_an_image_that_waits_for_its_label_may_be_a_failure_or_none():
    """The last of four: the pool's mean is 2/4 if it fails, and 3/4 if it does not."""
    loss = np.array([0.0, 0.0, 1.0, 1.0])
    quality = np.array([1.0, 0.0, 1.0, np.nan])
    waits = np.isnan(quality)
    probability = np.array([1 / 4, 1 / 3, 1 / 2, 1.0])
    estimate = estimate_by_calibration(
        np.array([0.0, 1.0]), np.array([1.0, 0.0]), loss, loss, quality, probability, waits
    )
    assert (estimate.low, estimate.high) == pytest.approx((0.5, 0.75))
    assert (estimate.measured, estimate.unknown) == (3, 1)
