"""Clusters of a pool, and budgets that are spread over them."""

import numpy as np
import pytest

from llpp.acquisition import k_means, typiclust
from llpp.acquisition.k_means import cluster
from llpp.acquisition.spaces import PointSet, Space
from llpp.acquisition.strata import count_strata, pick_stratified
from llpp.acquisition.stratified_power import StratifiedPowerAcquisition
from llpp.acquisition.typiclust import TypiclustAcquisition, compute_typicality, pick_typical
from llpp.types import Candidates


def rng(seed=0):
    return np.random.default_rng(seed)


def make_clouds(sizes, seed=0):
    """Points around 0, 10, 20, … on a line of 4 dimensions, and which cloud each belongs to."""
    homes = np.repeat(np.arange(len(sizes)), sizes)
    points = rng(seed).normal(size=(len(homes), 4)) * 0.5
    points[:, 0] += 10 * homes
    return points.astype(np.float32), homes


@pytest.mark.parametrize("sample", [2**16, 50], ids=["all points", "a sample"])
def test_clusters_are_the_clouds_and_every_point_is_with_its_nearest_centre(sample, monkeypatch):
    monkeypatch.setattr(k_means, "SAMPLE", sample)
    points, homes = make_clouds([100, 40, 60])
    centres, labels = cluster(PointSet(points, None), 3, rng())
    assert len({(home, label) for home, label in zip(homes, labels, strict=True)}) == 3
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    assert labels.tolist() == distances.argmin(axis=1).tolist()
    if sample > len(points):
        means = [points[labels == number].mean(axis=0) for number in range(3)]
        assert centres == pytest.approx(np.array(means), abs=1e-4)


def test_there_are_no_more_clusters_than_different_points():
    points = np.repeat(np.array([[0.0], [1.0]], dtype=np.float32), 5, axis=0)
    centres, labels = cluster(PointSet(points, None), 4, rng())
    assert len(centres) == 2 and len(set(labels[:5])) == len(set(labels[5:])) == 1


def test_two_thirds_of_a_budget_go_round_the_strata():
    """Of 3, two: the highest of each stratum, rows 0 and 4. The third is the highest that is left, row 1."""
    keys = np.array([9.0, 8.0, 7.0, 6.0, 5.0, 4.0])
    strata = np.array([0, 0, 0, 0, 1, 1])
    assert pick_stratified(keys, strata, 3).tolist() == [0, 1, 4]
    # Of 6, four: 0, 4, then 1, 5. The others are 2 and 3.
    found = pick_stratified(keys, strata, 6).tolist()
    assert [row for row in found if row in (0, 4, 1, 5)] == [0, 4, 1, 5] and sorted(found) == list(range(6))


def test_a_stratum_that_is_used_up_leaves_its_share_to_the_others():
    keys = np.array([1.0, 9.0, 8.0, 7.0, 6.0, 5.0, 0.0, 0.5])
    strata = np.array([0, 1, 1, 1, 1, 1, 2, 2])
    # round(0.66 · 6) = 4 go round: 1 and 0 and 7 in the first turn, then 2. The two others are 3 and 4.
    assert sorted(pick_stratified(keys, strata, 6).tolist()) == [0, 1, 2, 3, 4, 7]


def test_the_beginning_of_a_selection_is_spread_as_well():
    keys = rng(3).normal(size=4000) + 3 * (np.arange(4000) < 1000)
    strata = np.arange(4000) // 1000
    picks = pick_stratified(keys, strata, 400)
    for length in (40, 100, 400):
        counts = np.bincount(strata[picks[:length]], minlength=4)
        # A quarter of 66 % at least, though nearly all of the highest keys are in the first stratum.
        assert counts.min() >= 0.66 * length / 4 - 1 and counts[0] > 0.45 * length
    assert len(set(picks.tolist())) == 400


def test_there_are_as_many_strata_as_the_root_of_the_budget():
    assert [count_strata(budget) for budget in (1, 64, 100, 1000)] == [8, 8, 10, 32]


def test_power_sampling_in_strata_reaches_poses_that_top_k_would_miss():
    """Four kinds of poses; the highest losses are all of one kind. Two thirds of 40 are spread over 8 clusters."""
    kinds = np.repeat(np.arange(4), 100)
    pose = np.zeros((400, 2, 2), dtype=np.float32)
    pose[:, 0, 0] = kinds
    pose += rng(1).normal(size=pose.shape).astype(np.float32) * 0.01
    losses = rng(2).random(400).astype(np.float32) + 5 * (kinds == 0)
    columns = {"pose": pose, "joints_found": np.ones(400, dtype=np.float32)}
    candidates = Candidates([str(row) for row in range(400)], predicted_loss=losses, columns=columns)
    chosen = StratifiedPowerAcquisition(beta=float("inf"), trim=0.0).select(candidates, 40, rng())
    counts = np.bincount(kinds[np.array(chosen, dtype=int)], minlength=4)
    assert counts.min() >= 3 and counts.sum() == 40


def test_embeddings_are_compared_by_their_direction_from_the_mean():
    values = np.array([[1.0, 1.0], [3.0, 1.0], [2.0, 4.0]], dtype=np.float32)  # mean (2, 2)
    labelled = np.array([[2.0, 2.0], [2.0, 7.0]], dtype=np.float32)
    candidates = Candidates(["a", "b", "c"], embedding=values, labelled_embedding=labelled)
    points, others, target = Space("embedding").get_points(candidates)
    root = 0.5**0.5
    assert points.prepare(slice(None)) == pytest.approx(np.array([[-root, -root], [root, -root], [0, 1]]), abs=1e-6)
    assert len(target) == 0
    assert others.prepare(slice(None)) == pytest.approx(np.array([[0, 0], [0, 1]]), abs=1e-6)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 of 2 candidates have points that are not finite"):
        PointSet(np.array([[1.0], [np.nan]], dtype=np.float32), None).prepare(slice(None))


def test_typical_is_what_has_near_neighbours():
    """Of four, two neighbours count: mean distances 1.5, 1, 1.5 and 8.5."""
    found = compute_typicality(np.array([[0.0], [1.0], [2.0], [10.0]], dtype=np.float32))
    assert 1 / found == pytest.approx(np.array([1.5, 1.0, 1.5, 8.5]), rel=1e-4)


def test_clusters_without_labels_come_first_and_of_these_the_largest():
    """Clusters of 6, 8, 7 and 3 on a line; the second has a label. The smallest, an outlier, comes last."""
    starts = {0: 0, 6: 100, 14: 200, 21: 300}
    places = np.zeros(24)
    for start, place in starts.items():
        places[start:] = place + np.arange(24 - start) ** 2
    points = PointSet(places[:, None].astype(np.float32), None)
    members = [np.arange(0, 6), np.arange(6, 14), np.arange(14, 21), np.arange(21, 24)]
    picks = pick_typical(points, members, np.array([0, 1, 0, 0]), 24, rng())
    clusters = [next(number for number, rows in enumerate(members) if pick in rows) for pick in picks]
    assert clusters[:4] == [2, 0, 1, 2] and clusters[-3:] == [3, 3, 3]
    # Squares are 0, 1, 4, 9, …: of seven, three neighbours count, and those of 1 are nearest (1, 3, 8).
    assert picks[0] == 15 and sorted(picks) == list(range(24))


def test_large_clusters_are_sampled_and_still_used_up(monkeypatch):
    monkeypatch.setattr(typiclust, "MOST_MEMBERS", 10)
    points, _ = make_clouds([40, 30])
    labelled = np.zeros((1, 4), dtype=np.float32)
    candidates = Candidates([str(row) for row in range(70)], embedding=points, labelled_embedding=labelled)
    assert len(set(TypiclustAcquisition(clusters=2).select(candidates, 70, rng()))) == 70
