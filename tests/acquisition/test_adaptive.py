"""Between random images and the highest losses, by what the model is measured to know."""

import numpy as np
import pytest

from llpp.acquisition.adaptive import AdaptiveAcquisition
from llpp.acquisition.predicted_loss import PredictedLossAcquisition
from llpp.acquisition.random import RandomAcquisition
from llpp.acquisition.stratified_power import StratifiedPowerAcquisition
from llpp.errors import ConfigError
from llpp.rounds.records import describe_leaning
from llpp.types import Candidates, Progress

COUNT = 400
RARE = 20  # of these, with poses unlike the others'


def rng(seed=0):
    return np.random.default_rng(seed)


def make_progress(competence, number=1, source="both"):
    return Progress(number, 4, 100, competence, source)


def make_candidates(competence):
    """Losses rise with the row; the first rows have poses of their own."""
    pose = rng(1).normal(size=(COUNT, 3, 2)).astype(np.float32) * 0.01
    pose[:RARE, 0, 0] += 5
    losses = np.arange(COUNT, dtype=np.float32)
    ids = [f"id-{row}" for row in range(COUNT)]
    return Candidates(ids, losses, columns={"pose": pose}, progress=make_progress(competence))


def get_rows(ids):
    return np.array([int(name.removeprefix("id-")) for name in ids])


def test_beta_is_0_up_to_60_percent_of_what_can_be_known_and_4_from_80_percent_on():
    """Halfway, at .7, it is 2; at .65, a quarter of the way, 1."""
    acquisition = AdaptiveAcquisition()
    known = [acquisition.compute_beta(make_progress(value)) for value in (0.0, 0.3, 0.6, 0.65, 0.7, 0.8, 1.0)]
    assert known == pytest.approx([0, 0, 0, 1, 2, 4, 4])
    assert acquisition.compute_beta(make_progress(None)) == 0
    other = AdaptiveAcquisition(competence_low=0.2, competence_high=0.4, beta_most=10.0)
    assert other.compute_beta(make_progress(0.25)) == pytest.approx(2.5)


@pytest.mark.parametrize("competence", [None, 0.1, 0.6])
def test_a_model_that_knows_little_selects_at_random(competence):
    candidates = make_candidates(competence)
    found = AdaptiveAcquisition().select(candidates, 40, rng(7))
    assert found == RandomAcquisition().select(candidates, 40, rng(7))


def test_a_model_that_knows_something_spreads_its_selection_over_parts_of_the_pool():
    """The rare poses have the lowest losses: without parts, none of them is among the 40 of a large β."""
    candidates = make_candidates(0.7)
    found = AdaptiveAcquisition(strata="auto").select(candidates, 40, rng(7))
    assert found == StratifiedPowerAcquisition(beta=2.0).select(candidates, 40, rng(7))
    assert (get_rows(found) < RARE).sum() >= 3
    undivided = AdaptiveAcquisition(strata=1, trim=0.0).select(candidates, 40, rng(7))
    assert (get_rows(undivided) < RARE).sum() == 0


def test_without_parts_a_good_model_with_a_large_beta_takes_the_highest_predicted_losses():
    candidates = make_candidates(0.9)
    acquisition = AdaptiveAcquisition(beta_most=1e9, strata=1, trim=0.0)
    highest = PredictedLossAcquisition().select(candidates, 40, rng(3))
    assert acquisition.select(candidates, 40, rng(7)) == highest
    assert get_rows(highest).tolist() == list(range(399, 359, -1))


def test_the_better_the_model_the_higher_are_the_losses_that_it_selects():
    acquisition = AdaptiveAcquisition(strata=1, trim=0.0)
    means = []
    for competence in (0.6, 0.66, 0.72, 0.8):
        means.append(get_rows(acquisition.select(make_candidates(competence), 40, rng(5))).mean())
    assert means == sorted(means) and means[0] < 230 and means[-1] > 350


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"competence_low": 1.0}, "acquisition.competence_low=1.0 is invalid; expected a number, 0 to less than 1"),
        (
            {"competence_high": 0.5},
            "acquisition.competence_high=0.5 is invalid; expected a number above competence_low=0.6, at most 1",
        ),
        ({"beta_most": 0.0}, "acquisition.beta_most=0.0 is invalid; expected a finite number above 0"),
        ({"beta_most": "high"}, "acquisition.beta_most='high' is invalid; expected a number"),
        ({"competence_low": None}, "acquisition.competence_low=None is invalid; expected a number"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, sentence):
    with pytest.raises(ConfigError) as refused:
        AdaptiveAcquisition(**settings)
    assert str(refused.value) == sentence


def test_the_log_says_which_beta_and_what_has_measured_the_model():
    row = {"round": 1, "beta": 2.0}
    assert describe_leaning(row, make_progress(0.65)) == (
        "round 1 selects with β = 2.00, by a competence of 0.650 on the validation images, with which the audit is "
        "in accord"
    )
    assert describe_leaning(row, make_progress(0.65, source="audit")) == (
        "round 1 selects with β = 2.00, by a competence of 0.650, which the audit has measured"
    )
    assert describe_leaning(row, make_progress(0.65, source="validation")) == (
        "round 1 selects with β = 2.00, by a competence of 0.650 on the validation images; if these are not like the "
        "pool, set audit=0.1 to measure it on images of the pool"
    )
    assert describe_leaning({"round": 1, "beta": 0.0}, make_progress(None)) == (
        "round 1 selects with β = 0.00; its competence is unknown: set audit=0.1, or have validation images"
    )
    assert describe_leaning({"round": 1}, None) is None
