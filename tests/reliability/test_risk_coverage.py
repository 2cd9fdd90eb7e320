"""Risk against coverage: by hand, by going through all orders of equal scores, and by other people's formulas."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llpp.reliability.risk_coverage import (
    compute_augrc_parts,
    compute_auroc,
    compute_risk_band,
    compute_risk_coverage,
)

few = st.integers(0, 3).map(float)  # so that many are equal
images = st.lists(st.tuples(few, few), min_size=1, max_size=6)


def split(pairs):
    score, loss = zip(*pairs, strict=True)
    return np.array(score), np.array(loss)


def compute_areas_of_one_order(losses):
    """(AURC, AUGRC) of losses in the order in which they are accepted, summed up step by step."""
    count = len(losses)
    total = risk = area = 0.0
    for number, loss in enumerate(losses, start=1):
        before = total / count
        total += loss
        risk += total / number / count
        area += (before + total / count) / 2 / count
    return risk, area


def test_the_curve_of_five_images_by_hand():
    """From the surest on: right, failed, right, right, failed."""
    score = np.array([0.5, 0.1, 0.3, 0.9, 0.2])
    failed = np.array([False, False, False, True, True])
    curve = compute_risk_coverage(score, failed)
    assert curve.coverage.tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4, 2 / 5])
    assert curve.aurc == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    # Generalised risks 0, 0, 1/5, 1/5, 1/5, 2/5: five trapezia, each 1/5 wide.
    assert curve.augrc == pytest.approx((0 + 0.1 + 0.2 + 0.2 + 0.3) / 5)
    # At least 50 % of five images are three of them.
    assert [curve.get_risk_at(share) for share in (0.5, 0.8, 0.81, 1.0)] == pytest.approx(
        [1 / 3, 1 / 4, 2 / 5, 2 / 5]
    )


def test_a_coverage_of_95_per_cent_of_100_images_is_95_of_them():
    failed = np.arange(100) == 95
    assert compute_risk_coverage(np.arange(100.0), failed).get_risk_at(0.95) == 0.0
    assert compute_risk_coverage(np.arange(100.0), failed).get_risk_at(0.96) == pytest.approx(1 / 96)


def test_a_perfect_score_misses_the_least_and_a_useless_one_half():
    failed = np.array([False] * 6 + [True] * 4)
    # Nothing fails up to 60 %; then the generalised risk rises to 0.4: a triangle.
    assert compute_risk_coverage(failed, failed).augrc == pytest.approx(0.4 * 0.4 / 2)
    assert compute_risk_coverage(np.zeros(10), failed).augrc == pytest.approx(0.4 / 2)
    assert compute_risk_coverage(np.zeros(10), failed).risk == pytest.approx(np.full(10, 0.4))


@settings(deadline=None, max_examples=60)
@given(images)
def test_equal_scores_count_as_the_mean_over_all_their_orders(pairs):
    score, loss = split(pairs)
    areas = []
    for order in itertools.permutations(range(len(score))):
        if all(score[a] <= score[b] for a, b in itertools.pairwise(order)):
            areas.append(compute_areas_of_one_order(loss[list(order)]))
    curve = compute_risk_coverage(score, loss)
    assert (curve.aurc, curve.augrc) == pytest.approx(tuple(np.mean(areas, axis=0)))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(few, st.booleans()), min_size=2, max_size=30))
def test_augrc_of_failures_follows_from_auroc_as_its_authors_say(pairs):
    """Traub et al. 2024: AUGRC = (1 − AUROC) · accuracy · (1 − accuracy) + (1 − accuracy)² / 2."""
    score, failed = split(pairs)
    share = failed.mean()
    expected = share**2 / 2
    if 0 < share < 1:
        expected += (1 - compute_auroc(score, failed)) * (1 - share) * share
    assert compute_risk_coverage(score, failed).augrc == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(images)
def test_the_parts_of_augrc_average_to_it_and_say_what_an_image_adds(pairs):
    """A part is twice the mean over the image's pairs, less the mean over all pairs."""
    score, loss = split(pairs)
    count = len(score)
    pair_means = np.zeros(count)
    for one, other in itertools.product(range(count), repeat=2):
        first_loss = (loss[one] + loss[other]) / 2
        if score[one] != score[other]:
            first_loss = loss[one] if score[one] < score[other] else loss[other]
        pair_means[one] += first_loss / 2 / count
    augrc = compute_risk_coverage(score, loss).augrc
    parts = compute_augrc_parts(score, loss)
    assert parts.mean() == pytest.approx(augrc)
    assert parts == pytest.approx(2 * pair_means - augrc)


def test_the_spread_of_the_parts_is_that_of_augrc_over_samples():
    """Drawn again and again, AUGRC varies as the parts of one sample say."""
    rng = np.random.default_rng(0)
    found = []
    predicted = []
    for _ in range(400):
        doubt = rng.normal(size=200)
        failed = rng.random(200) < 1 / (1 + np.exp(-doubt))
        found.append(compute_risk_coverage(doubt, failed).augrc)
        predicted.append(compute_augrc_parts(doubt, failed).std(ddof=1) / 200**0.5)
    assert np.mean(predicted) == pytest.approx(np.std(found, ddof=1), rel=0.12)


@pytest.mark.slow
def test_auroc_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    score = rng.integers(0, 20, 300).astype(float)
    failed = rng.random(300) < score / 25
    assert compute_auroc(score, failed) == pytest.approx(metrics.roc_auc_score(failed, score))


def test_without_images_nothing_is_a_number():
    nothing = np.zeros(0)
    curve = compute_risk_coverage(nothing, nothing)
    assert all(math.isnan(value) for value in (curve.aurc, curve.augrc, curve.get_risk_at(0.8)))
    assert len(compute_augrc_parts(nothing, nothing)) == 0


def test_a_band_is_as_wide_as_the_share_of_failures_varies():
    """All 400 images: of a binomial with 25 %, 95 % are within ± 1.96 · √(0.25 · 0.75 / 400) = ± 4.2 points."""
    failed = np.arange(400) % 4 == 0
    rng = np.random.default_rng(3)
    coverages = np.array([0.5, 1.0])
    low, high = compute_risk_band(rng.random(400), failed, coverages)
    assert (low[1], high[1]) == pytest.approx((0.25 - 0.0424, 0.25 + 0.0424), abs=0.006)
    assert high[0] - low[0] == pytest.approx(2 * 0.06, abs=0.015), "half of the images: √2 times as wide"
    again = compute_risk_band(np.zeros(400), failed, coverages)
    assert np.array_equal(again, compute_risk_band(np.zeros(400), failed, coverages))


def test_a_band_follows_the_scores():
    low, high = compute_risk_band(np.arange(100.0), np.arange(100) >= 80, np.array([0.5, 1.0]))
    assert low[0] == high[0] == 0.0 and 0.1 < low[1] < 0.2 < high[1] < 0.3
