"""How far a selection leans towards high scores, worked out by hand for a few of them."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from llpp.acquisition.stratified_power import StratifiedPowerAcquisition
from llpp.acquisition.tilting import Tilt, compute_normal_scores, draw_keys
from llpp.acquisition.trimming import Trim
from llpp.errors import ConfigError
from llpp.types import Candidates, Progress


def rng(seed=0):
    return np.random.default_rng(seed)


def make_progress(number=0, rounds=4, competence=0.25):
    return Progress(number, rounds, 10, competence)


def test_normal_scores_are_quantiles_of_ranks():
    """Of four: Φ⁻¹ of 1/8, 3/8, 5/8 and 7/8, as tables of the normal distribution have them."""
    found = compute_normal_scores(np.array([30.0, -7.0, 2.0, 1.0]))
    assert found == pytest.approx([1.15035, -1.15035, 0.31864, -0.31864], abs=1e-5)


def test_equal_scores_have_one_normal_score():
    """Ranks 1 and 2 are 1.5 each: Φ⁻¹(1/4) = -0.6745."""
    found = compute_normal_scores(np.array([5.0, 5.0, 6.0, 7.0]))
    assert found[:2] == pytest.approx([-0.67449, -0.67449], abs=1e-5)
    assert compute_normal_scores(np.full(3, 2.0)).tolist() == [0, 0, 0]


def test_scores_without_a_rank_are_refused():
    with pytest.raises(ValueError, match="1 of 3 scores are not finite"):
        compute_normal_scores(np.array([1.0, np.nan, 2.0]))


def test_ids_are_drawn_with_probability_exp_beta_u_without_replacement():
    """u = -0.9674, 0 and 0.9674. P(i, then j) = w_i / W · w_j / (W - w_i) with w = exp(β u)."""
    weights = np.exp(1.5 * np.array([-0.967422, 0.0, 0.967422]))
    normal = compute_normal_scores(np.array([1.0, 2.0, 3.0]))
    generator = rng(4)
    counts = Counter(tuple(np.argsort(-draw_keys(normal, 1.5, generator))[:2].tolist()) for _ in range(4000))
    total = weights.sum()
    pairs = list(permutations(range(3), 2))
    expected = [4000 * weights[i] / total * weights[j] / (total - weights[i]) for i, j in pairs]
    assert stats.chisquare([counts[pair] for pair in pairs], expected).pvalue > 1e-3


def test_beta_moves_the_mean_of_a_small_share_by_as_many_standard_deviations():
    normal = compute_normal_scores(np.arange(100_000.0))
    for beta in (0.0, 0.5, 1.0):
        drawn = np.argsort(-draw_keys(normal, beta, rng(1)))[:1000]
        assert normal[drawn].mean() == pytest.approx(beta, abs=0.1)


def test_an_infinite_beta_takes_the_highest_and_draws_among_equals():
    normal = compute_normal_scores(np.array([1.0, 3.0, 2.0, 3.0]))
    orders = {tuple(np.argsort(-draw_keys(normal, math.inf, rng(seed))).tolist()) for seed in range(20)}
    assert orders == {(1, 3, 2, 0), (3, 1, 2, 0)}


def test_a_schedule_multiplies_beta_from_selection_to_selection():
    """Four rounds select three times: 1, 2, 4. Two rounds select once."""
    tilt = Tilt("schedule", 1.0, 4.0)
    assert [tilt.compute(make_progress(number)) for number in range(3)] == pytest.approx([1, 2, 4])
    assert tilt.compute(make_progress(0, rounds=2)) == 1
    assert Tilt(0.7, 1.0, 4.0).compute(None) == 0.7


def test_beta_by_competence_is_0_where_the_model_knows_nothing():
    tilt = Tilt("competence", 0.5, 4.0)
    found = [tilt.compute(make_progress(competence=value)) for value in (0.25, 1.0, 0.0, None)]
    assert found == [1.0, 4.0, 0.0, 0.0]
    assert tilt.needs == {"progress"} and Tilt(1.0, 0.5, 3.0).needs == frozenset()


def test_a_schedule_of_a_run_without_an_end_is_refused():
    with pytest.raises(ConfigError, match=r"rounds=null; set acquisition.beta=competence, or a number"):
        Tilt("schedule", 1.0, 4.0).compute(make_progress(rounds=None))


@pytest.mark.parametrize("beta", [-1, "fast", True, None, math.nan])
def test_a_beta_that_means_nothing_is_refused(beta):
    with pytest.raises(ConfigError, match=r"acquisition.beta=.* is invalid; expected a number, 0"):
        Tilt(beta, 0.5, 3.0)


def make_candidates(losses, joints_found):
    columns = {"joints_found": np.array(joints_found, dtype=np.float32)}
    ids = [f"id-{row}" for row in range(len(losses))]
    return Candidates(ids, predicted_loss=np.array(losses, dtype=np.float32), columns=columns)


def test_the_highest_share_and_images_without_a_joint_are_left_out():
    """Ten images: 20 % are the two highest, rows 3 and 7; on row 1 nothing is found."""
    losses = np.array([0, 1, 2, 9, 3, 4, 5, 8, 6, 7.0])
    candidates = make_candidates(losses, [5, 0, 1, 5, 5, 5, 5, 5, 5, 5])
    assert Trim(0.2, True).find_kept(candidates, losses, 3).tolist() == [0, 2, 4, 5, 6, 8, 9]
    assert Trim(0.2, False).find_kept(candidates, losses, 3).tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert Trim(0.0, False).find_kept(candidates, losses, 3).tolist() == list(range(10))


def test_no_more_is_left_out_than_the_budget_spares():
    """Nine of ten are wanted: of rows 1, 3 and 7, which would be left out, the two lower ones come back."""
    losses = np.array([0, 1, 2, 9, 3, 4, 5, 8, 6, 7.0])
    candidates = make_candidates(losses, [5, 0, 1, 5, 5, 5, 5, 5, 5, 5])
    assert Trim(0.2, True).find_kept(candidates, losses, 9).tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert Trim(0.2, True).find_kept(candidates, losses, 99).tolist() == list(range(10))


def test_a_loss_that_is_no_number_is_refused_and_not_trimmed():
    losses = np.array([0, 1, np.nan, 3.0])
    with pytest.raises(ValueError, match="1 of 4 scores are not finite"):
        Trim(0.25, False).find_kept(make_candidates(losses, [5] * 4), losses, 1)


def test_without_strata_and_trimming_power_sampling_is_between_random_and_top_k():
    candidates = make_candidates([0.1, -3, 7, 2, 0.5], [0] * 5)

    def select(beta, seed):
        acquisition = StratifiedPowerAcquisition(beta, strata=1, trim=0.0, trim_unfound=False)
        assert acquisition.needs == {"predicted_loss"}
        return acquisition.select(candidates, 3, rng(seed))

    assert select(math.inf, 0) == ["id-2", "id-3", "id-4"]
    counts = Counter(select(0.0, seed)[0] for seed in range(1000))
    assert stats.chisquare([counts[name] for name in candidates.ids]).pvalue > 1e-3
