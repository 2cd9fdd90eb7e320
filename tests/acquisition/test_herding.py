"""Greedy coverage against the plain algorithm and the best of all sets; regression against leaving points out."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from llpp.acquisition import herding
from llpp.acquisition.herded_loss import HerdedLossAcquisition
from llpp.acquisition.herding import Coverage
from llpp.acquisition.loss_then_diverse import LossThenDiverseAcquisition
from llpp.acquisition.reducible_loss import ReducibleLossAcquisition, predict_remaining_loss
from llpp.acquisition.ridge import PENALTIES, fit_ridge
from llpp.acquisition.spaces import PointSet
from llpp.types import Candidates


def rng(seed=0):
    return np.random.default_rng(seed)


def column(*values):
    return np.array(values, dtype=np.float32)[:, None]


def compute_value(anchors, weights, width, points):
    """F of a set, in double precision, as it is defined."""
    if not len(points):
        return 0.0
    difference = anchors.astype(np.float64)[:, None] - np.asarray(points, dtype=np.float64)
    kernel = np.exp(-np.square(difference).sum(axis=2) / width**2)
    return float(weights @ kernel.max(axis=1))


def test_coverage_on_a_line_by_hand():
    """Anchors 0 and 3 of weights 1 and 2, h = 1. Point 3 gains 2 + e⁻⁹, 0 gains 1 + 2 e⁻⁹, 1.5 gains 3 e^-2.25.

    After 3, point 0 gains 1 - e⁻⁹ and 1.5 gains e^-2.25 - e⁻⁹.
    """
    coverage = Coverage(column(0, 3), np.array([1, 2], np.float32), 1.0, np.zeros(2, np.float32))
    assert coverage.compute_gains(column(0, 3, 1.5), coverage.covered) == pytest.approx(
        [1.00025, 2.00012, 0.3162], 1e-4
    )
    assert coverage.pick(column(0, 3, 1.5), 3) == [1, 0, 2]


def test_the_width_is_the_median_distance_to_the_nearest_labelled_point():
    """Anchors 1, 2 and 14 from labelled 0 and 10: distances 1, 2 and 4, so h = 2."""
    coverage = Coverage.build(column(1, 2, 14), np.ones(3), column(0, 10))
    assert coverage.width == pytest.approx(2.0)
    assert coverage.covered == pytest.approx(np.exp([-1 / 4, -1, -4]), rel=1e-5)


def test_anchors_that_are_labelled_points_have_some_width():
    coverage = Coverage.build(column(0, 10, 11), np.ones(3), column(0, 10))
    assert coverage.width == 1.0 and coverage.pick(column(0, 10, 11), 1) == [2]


def test_points_that_are_all_but_equal_are_covered_one_after_the_other():
    """Their squared distances, 1e-40, have no inverse that float32 could hold: no point is better than another."""
    coverage = Coverage.build(column(0, 2e-20), np.ones(2), column(1e-20))
    assert coverage.pick(column(0, 1e-20, 2e-20), 3) == [0, 1, 2]


@pytest.mark.parametrize("labelled", [0, 5])
@pytest.mark.parametrize("at_once", [1, 32])
def test_lazy_greedy_picks_what_plain_greedy_picks(labelled, at_once, monkeypatch):
    monkeypatch.setattr(herding, "GAINS_AT_ONCE", at_once)
    for seed in range(3):
        source = rng(seed)
        anchors, candidates, known = (source.normal(size=(n, 3)).astype(np.float32) for n in (40, 60, labelled))
        weights = np.exp(source.normal(size=40)).astype(np.float32)
        coverage = Coverage.build(anchors, weights, known)
        chosen = []
        for _ in range(15):
            values = []
            for row in range(60):
                points = np.concatenate([known, candidates[[*chosen, row]]])
                values.append(-np.inf if row in chosen else compute_value(anchors, weights, coverage.width, points))
            chosen.append(int(np.argmax(values)))
        assert coverage.pick(candidates, 15) == chosen


def test_a_greedy_set_is_within_its_bound_of_the_best_one():
    """Of all 560 sets of three: greedy reaches 1 - 1/e of the best at least, here all but a few per cent."""
    for seed in range(5):
        source = rng(seed)
        anchors, candidates = (source.normal(size=(n, 2)).astype(np.float32) for n in (30, 16))
        weights = np.exp(2 * source.normal(size=30)).astype(np.float32)
        coverage = Coverage(anchors, weights, 0.7, np.zeros(30, np.float32))
        found = compute_value(anchors, weights, 0.7, candidates[coverage.pick(candidates, 3)])
        every = combinations(range(16), 3)
        best = max(compute_value(anchors, weights, 0.7, candidates[list(rows)]) for rows in every)
        assert 0.9 * best < found <= best + 1e-4


def make_candidates(pose, losses, labelled):
    columns = {"pose": pose, "labelled_pose": labelled, "joints_found": np.ones(len(pose), dtype=np.float32)}
    return Candidates([str(row) for row in range(len(pose))], predicted_loss=losses, columns=columns)


def test_herding_covers_at_beta_0_and_follows_the_loss_with_more():
    """Three clouds, the first of them labelled; the losses of the second are low, those of the third high."""
    homes = np.repeat([0, 1, 2], 50)
    pose = np.zeros((150, 1, 2), dtype=np.float32)
    pose[:, 0, 0] = 10 * homes
    pose += rng(1).normal(size=pose.shape).astype(np.float32)
    losses = (homes + 0.1 * rng(2).random(150)).astype(np.float32)
    candidates = make_candidates(pose, losses, np.zeros((4, 1, 2), dtype=np.float32))

    def count(beta):
        chosen = HerdedLossAcquisition(beta=beta, trim=0.0).select(candidates, 6, rng())
        return np.bincount(homes[np.array(chosen, dtype=int)], minlength=3).tolist()

    assert min(count(0.0)[1:]) >= 2
    assert count(8.0)[2] > count(0.0)[2]


def test_a_target_is_covered_instead_of_the_pool():
    """Most of the pool is around 0, the target around 10: the few candidates there come first."""
    pose = np.zeros((60, 1, 2), dtype=np.float32)
    pose[55:] = 10
    pose += rng(1).normal(size=pose.shape).astype(np.float32)
    target = 10 + rng(2).normal(size=(20, 1, 2)).astype(np.float32)
    candidates = make_candidates(pose, np.zeros(60, dtype=np.float32), np.full((2, 1, 2), -5, dtype=np.float32))
    candidates = replace(
        candidates,
        target_predicted_loss=np.zeros(20, dtype=np.float32),
        columns={**candidates.columns, "target_pose": target},
    )
    acquisition = HerdedLossAcquisition(target="ids.txt", trim=0.0)
    assert {"target_pose", "target_predicted_loss"} <= acquisition.needs and acquisition.target_file == "ids.txt"
    assert set(acquisition.select(candidates, 4, rng())) <= {"55", "56", "57", "58", "59"}
    without = replace(candidates, target_predicted_loss=None)
    assert not set(HerdedLossAcquisition(trim=0.0).select(without, 1, rng())) & {"55", "56", "57", "58", "59"}


def test_herding_compares_a_draw_where_the_pool_is_large():
    source = rng(3)
    pose = source.normal(size=(500, 2, 2)).astype(np.float32)
    losses = source.normal(size=500).astype(np.float32)
    candidates = make_candidates(pose, losses, pose[:3] + 1)
    small = HerdedLossAcquisition(anchors=50, drawn=40, trim=0.0)
    chosen = small.select(candidates, 12, rng())
    assert len(set(chosen)) == 12 and chosen == small.select(candidates, 12, rng())
    assert len(small.select(candidates, 480, rng())) == 480, "twice the budget is drawn at least"


def test_diversity_is_looked_for_among_the_highest_losses_alone():
    """Losses 9 … 0; two are wanted of the 2 · 2 highest, at 5, 0, 1 and 6. Labelled is 0.

    6 is farthest; then 5 and 1 have a distance of 1 each, and the first of equals is that of the higher loss. Row 9
    is farther than all of them, and its loss is the lowest.
    """
    embedding = column(5, 0, 1, 6, 50, 60, 70, 80, 90, 100)
    columns = {"joints_found": np.ones(10, dtype=np.float32)}
    candidates = Candidates(
        [str(row) for row in range(10)],
        predicted_loss=np.arange(9, -1, -1).astype(np.float32),
        embedding=embedding,
        labelled_embedding=column(0),
        columns=columns,
    )
    acquisition = LossThenDiverseAcquisition(factor=2.0, trim=0.0)
    assert acquisition.select(candidates, 2, rng()) == ["3", "0"]
    # A tenth of the candidates is trimmed, which is row 0: then the four are at 0, 1, 6 and 50.
    trimmed = LossThenDiverseAcquisition(factor=2.0, trim=0.1)
    assert trimmed.select(candidates, 2, rng()) == ["4", "3"]


def test_the_penalty_of_a_ridge_is_the_best_of_leaving_out_each_point():
    """Against fits without each point, one by one."""
    source = rng(5)
    points = source.normal(size=(14, 3)).astype(np.float32)
    targets = points @ np.array([1.0, -2.0, 0.0]) + source.normal(size=14)
    ridge = fit_ridge(points, targets)

    wide = points.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    scale = np.linalg.eigvalsh(centred.T @ centred).mean()

    def solve(rows, penalty):
        """Coefficients around the mean of all points, and an intercept that is not shrunk."""
        design = np.column_stack([np.ones(len(rows)), centred[rows]])
        shrink = np.diag([0.0, *[penalty * scale] * 3])
        return np.linalg.solve(design.T @ design + shrink, design.T @ targets[rows])

    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for row in range(14):
            others = np.delete(np.arange(14), row)
            error += (targets[row] - solve(others, penalty) @ [1.0, *centred[row]]) ** 2
        errors.append(error)
    best = PENALTIES[int(np.argmin(errors))]
    assert 0 < PENALTIES.index(best) < len(PENALTIES) - 1
    expected = np.column_stack([np.ones(14), centred]) @ solve(np.arange(14), best)
    assert ridge.predict(points) == pytest.approx(expected, abs=1e-6)


def test_what_training_leaves_behind_is_learned_from_the_known_losses_of_labelled_images():
    """ln l = 1 + 2 z exactly; unknown losses are left out."""
    labelled = column(*np.linspace(-1, 1, 21))
    losses = np.exp(1 + 2 * labelled[:, 0])
    losses[4] = np.nan
    found = predict_remaining_loss(PointSet(column(-1, 0, 0.5), None), PointSet(labelled, None), losses, rng())
    assert found == pytest.approx([-1, 1, 2], abs=0.02)
    everywhere = predict_remaining_loss(
        PointSet(column(-1, 9), None), PointSet(column(3, 3, 3), None), np.exp(np.array([0.0, 1, 2])), rng()
    )
    assert everywhere == pytest.approx([1, 1]), "equal images say nothing about others but the mean"
    unknown = np.full(21, np.nan, dtype=np.float32)
    assert predict_remaining_loss(PointSet(column(1), None), PointSet(labelled, None), unknown, rng()).tolist() == [0]


def test_a_loss_that_training_leaves_behind_is_not_looked_for():
    """Two kinds of images with the same predicted loss; labelled ones of the second keep a loss 20 times as high."""
    kinds = np.repeat([-1.0, 1.0], 40)
    embedding = np.stack([kinds, 0.1 * rng(1).normal(size=80)], axis=1).astype(np.float32)
    labelled_losses = np.where(kinds > 0, 2.0, 0.1).astype(np.float32)
    candidates = Candidates(
        [str(row) for row in range(80)],
        predicted_loss=rng(2).normal(size=80).astype(np.float32) * 0.1,
        embedding=embedding,
        labelled_embedding=embedding,
        labelled_true_loss=labelled_losses,
    )
    acquisition = ReducibleLossAcquisition(beta=float("inf"), strata=1, trim=0.0, trim_unfound=False)
    chosen = np.array(acquisition.select(candidates, 20, rng()), dtype=int)
    assert (kinds[chosen] < 0).all()
