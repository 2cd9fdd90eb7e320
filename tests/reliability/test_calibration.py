"""The promise about failures: exact numbers worked out by hand, and kept over many draws."""

import math

import numpy as np
import pytest

from llpp.errors import ConfigError, DataError
from llpp.reliability.calibration import (
    CalibrationSet,
    certify,
    choose_one_per_group,
    compute_lower_bound,
    compute_upper_bound,
    count_needed,
    fit_failure_probability,
    list_risks,
)
from llpp.reliability.drift import compute_psi, measure_drift

# Which share of images fails where the predicted loss has the rank u, 0 … 1, among all images; and the share that
# fails among all with a rank up to t, which is its mean from 0 to t.
HEADS = {
    "good": (lambda u: 0.01 + 0.72 * u**4, lambda t: 0.01 + 0.72 * t**4 / 5),
    "fair": (lambda u: 0.10 + 0.20 * u, lambda t: 0.10 + 0.10 * t),
    "useless": (lambda u: 0.20001 + 0 * u, lambda t: 0.20001),
    "wrong way round": (lambda u: 0.40 - 0.40 * u, lambda t: 0.40 - 0.20 * t),
}


def draw(rng, head, count):
    """Calibration images drawn by chance; their predicted loss is their rank among all images."""
    loss = rng.uniform(size=count)
    failed = rng.uniform(size=count) < HEADS[head][0](loss)
    return CalibrationSet(loss, failed, np.arange(count).astype(str))


def calibrate(losses, failed, group=None):
    names = np.arange(len(losses)) if group is None else group
    return CalibrationSet(
        np.asarray(losses, dtype=float), np.asarray(failed, dtype=bool), np.asarray(names, dtype=str)
    )


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("own_grid", [False, True])
def test_the_promise_is_kept_in_nine_of_ten_draws(head, own_grid):
    rng = np.random.default_rng(7)
    pool = rng.uniform(size=500)
    broken = 0
    draws = 600
    for _ in range(draws):
        calibration = draw(rng, head, 100)
        grid = calibration.score if own_grid else pool
        found = certify(calibration, grid, risk=0.2, confidence=0.9)
        if found.threshold is not None and HEADS[head][1](found.threshold) > 0.2:
            broken += 1
    assert broken <= 0.1 * draws


def test_frames_of_films_keep_the_promise_only_because_films_are_counted():
    # All frames of a film have nearly one predicted loss and fail together, a quarter of the films do, and no
    # predicted loss says which.
    rng = np.random.default_rng(9)
    films = np.repeat(np.arange(25), 8).astype(str)
    broken = {"film": 0, "frame": 0}
    draws = 400
    for _ in range(draws):
        failed = np.repeat(rng.uniform(size=25) < 0.25, 8)
        loss = np.repeat(rng.uniform(size=25), 8) + rng.uniform(0, 0.01, size=200)
        for counted, group in (("film", films), ("frame", np.arange(200).astype(str))):
            found = certify(CalibrationSet(loss, failed, group), np.linspace(0, 1, 100), risk=0.2)
            broken[counted] += found.threshold is not None
    assert broken["film"] <= 0.1 * draws < broken["frame"]


def test_a_good_head_accepts_many_images_and_a_useless_one_hardly_ever_any():
    rng = np.random.default_rng(8)
    good = [certify(draw(rng, "good", 100), np.linspace(0, 1, 200), 0.2) for _ in range(200)]
    useless = [certify(draw(rng, "useless", 100), np.linspace(0, 1, 200), 0.2) for _ in range(200)]
    assert np.median([found.coverage for found in good]) > 0.7
    assert np.mean([found.threshold is None for found in good]) < 0.05
    assert np.mean([found.threshold is None for found in useless]) >= 0.9


# Accepted images that are needed for 0, 1, 2, 3, 5 and 10 failures among them, at 90 %: the smallest n for which the
# binomial probability of so few failures, at that risk, is at most 10 %.
@pytest.mark.parametrize(
    ("risk", "needed"),
    [(0.2, (11, 18, 25, 32, 45, 75)), (0.1, (22, 38, 52, 65, 91, 152)), (0.05, (45, 77, 105, 132, 184, 306))],
)
def test_so_many_accepted_images_are_needed(risk, needed):
    for failures, expected in zip((0, 1, 2, 3, 5, 10), needed, strict=True):
        assert count_needed(failures, risk, 0.9) == expected

        def chance(n, failures=failures):
            return sum(math.comb(n, k) * risk**k * (1 - risk) ** (n - k) for k in range(failures + 1))

        assert chance(expected) <= 0.1 < chance(expected - 1)


def test_a_tiny_risk_needs_more_images_than_there_are_integers_in_c():
    # (1 - risk)^n = 0.1.
    assert count_needed(0, 1e-12, 0.9) == pytest.approx(math.log(0.1) / math.log1p(-1e-12))


def test_bounds_without_failures_and_with_nothing_else_are_known_in_closed_form():
    # (1 - p)^20 = 0.1 and p^20 = 0.1.
    assert compute_upper_bound(np.array([0]), np.array([20]), 0.9)[0] == pytest.approx(1 - 0.1 ** (1 / 20))
    assert compute_lower_bound(np.array([20]), np.array([20]), 0.9)[0] == pytest.approx(0.1 ** (1 / 20))
    assert compute_upper_bound(np.array([20, 0]), np.array([20, 0]), 0.9).tolist() == [1.0, 1.0]
    assert compute_lower_bound(np.array([0]), np.array([20]), 0.9)[0] == 0.0


def test_the_sequence_stops_before_the_first_threshold_that_fails():
    # Of 100 images the first 60 are fine, the others all fail. Thresholds accept 5, 10, … 100 of them, and the tests
    # begin at 25, the first with at least 2 × 11. Of 70 images 10 failures are too many (75 are needed), of 65 images
    # 5 are not (45 are needed).
    calibration = calibrate(np.arange(100), np.arange(100) >= 60)
    found = certify(calibration, calibration.score, risk=0.2)
    assert (found.threshold, found.accepted, found.failures, found.coverage) == (64.0, 65, 5, 0.65)
    assert found.bound <= 0.2 and found.more_needed == 0 and found.groups == 100


def test_a_failure_at_the_first_threshold_ends_the_sequence_even_if_later_ones_would_pass():
    # 5 of the first 25 fail and none of the others: 45 accepted images would be enough for 5 failures.
    calibration = calibrate(np.arange(100), np.arange(100) < 5)
    found = certify(calibration, calibration.score, risk=0.2)
    assert found.threshold is None and (found.accepted, found.failures) == (25, 5)
    # 5 failures need 45 accepted images, 20 more than there are, and a quarter of all images is accepted.
    assert found.more_needed == 80


def test_five_images_certify_nothing_and_it_is_said_how_many_more_are_needed():
    found = certify(calibrate(range(5), [False] * 5), np.arange(5.0), risk=0.2)
    assert found.threshold is None and found.more_needed == 11 - 5
    assert certify(calibrate([], []), np.zeros(0), risk=0.1).more_needed == 22


def test_eleven_flawless_images_certify_a_fifth_of_failures_and_ten_do_not():
    eleven = certify(calibrate(range(11), [False] * 11), np.arange(11.0), risk=0.2)
    ten = certify(calibrate(range(10), [False] * 10), np.arange(10.0), risk=0.2)
    assert (eleven.threshold, eleven.coverage) == (10.0, 1.0)
    assert ten.threshold is None and ten.more_needed == 1


def test_groups_are_counted_and_not_their_images():
    # 200 frames of four films are four images.
    films = np.repeat(["a", "b", "c", "d"], 50)
    found = certify(calibrate(np.arange(200), [False] * 200, films), np.arange(200.0), risk=0.2)
    assert found.threshold is None and found.groups == 4 and found.more_needed == 7
    chosen = choose_one_per_group(films)
    assert films[chosen].tolist() == ["a", "b", "c", "d"]
    assert choose_one_per_group(films).tolist() == chosen.tolist()


@pytest.mark.parametrize("risk", [0.0, 1.0, -0.1, float("nan")])
def test_an_impossible_risk_is_a_sentence(risk):
    with pytest.raises(ConfigError, match=r"risk=.* is invalid; expected a share above 0 and below 1"):
        certify(calibrate(range(20), [False] * 20), np.arange(20.0), risk=risk)


def test_columns_of_different_lengths_and_unknown_losses_are_refused():
    with pytest.raises(DataError, match="2 scores, 1 outcomes and 2 groups"):
        calibrate([0.1, 0.2], [True])
    with pytest.raises(DataError, match="no numbers"):
        calibrate([0.1, float("nan")], [True, False])


def test_the_probability_of_failure_never_falls():
    # Ten images of each loss; 0, 3, 1, 5, 10 of them fail. Isotonic regression pools the second with the third.
    losses = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 10)
    failed = np.concatenate([np.arange(10) < count for count in (0, 3, 1, 5, 10)])
    curve = fit_failure_probability(calibrate(losses, failed))
    found = curve.compute(np.array([0.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0, 9.0]))
    assert found == pytest.approx([0.0, 0.0, 0.2, 0.2, 0.35, 0.5, 1.0, 1.0])
    assert fit_failure_probability(calibrate(losses[:49], failed[:49])) is None


def test_risks_have_exact_intervals_whatever_is_certified():
    rows = list_risks(calibrate(np.arange(20), [False] * 10 + [True] * 10), np.arange(20.0))
    last = rows[-1]
    assert len(rows) == 20 and (last.accepted, last.failures, last.coverage) == (20, 10, 1.0)
    assert 0.3 < last.lower < 0.5 < last.upper < 0.7
    assert rows[9].lower == 0.0 and rows[9].upper == pytest.approx(1 - 0.1**0.1)


def test_equal_losses_have_not_drifted_and_shifted_ones_have():
    rng = np.random.default_rng(3)
    reference = rng.normal(size=300)
    same = measure_drift(reference, rng.normal(size=300))
    shifted = measure_drift(reference, rng.normal(size=300) + 1)
    assert not same.has_drifted and "are like those" in same.sentence
    assert shifted.has_drifted and "no promise about failures holds for them any longer" in shifted.sentence


def test_drift_of_few_images_is_no_news():
    found = measure_drift(np.arange(100.0), np.arange(5.0) + 1000)
    assert found.psi is None and not found.has_drifted and "there are 5 and 100" in found.sentence


def test_few_images_do_not_drift_by_chance():
    rng = np.random.default_rng(4)
    alarms = [measure_drift(rng.normal(size=100), rng.normal(size=30)).has_drifted for _ in range(300)]
    assert np.mean(alarms) <= 0.02


def test_psi_is_the_sum_over_deciles():
    # Deciles of 1 … 100 hold ten each; all hundred new ones are in the first. With half an image more in each bin:
    # p = 10.5 / 105, q = 100.5 / 105 once and 0.5 / 105 nine times.
    p = 10.5 / 105
    expected = (100.5 / 105 - p) * math.log(100.5 / 10.5) + 9 * (0.5 / 105 - p) * math.log(0.5 / 10.5)
    assert compute_psi(np.arange(1.0, 101.0), np.zeros(100)) == pytest.approx(expected)
