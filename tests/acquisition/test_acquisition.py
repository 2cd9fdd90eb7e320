"""What is selected, against brute force and known probabilities."""

import tracemalloc
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llpp.acquisition.base import select_highest
from llpp.acquisition.core_set import CoreSetAcquisition
from llpp.acquisition.k_centre_on_host import CENTRES_AT_ONCE
from llpp.acquisition.loss_proportional import LossProportionalAcquisition
from llpp.acquisition.predicted_loss import PredictedLossAcquisition
from llpp.acquisition.random import RandomAcquisition
from llpp.acquisition.true_loss import TrueLossAcquisition
from llpp.types import Candidates

ALL = [
    RandomAcquisition(),
    PredictedLossAcquisition(),
    TrueLossAcquisition(),
    LossProportionalAcquisition(),
    CoreSetAcquisition(),
]
SCORED = {"predicted_loss": PredictedLossAcquisition(), "true_loss": TrueLossAcquisition()}


def names(count):
    return tuple(f"id-{i}" for i in range(count))


def rng(seed=0):
    return np.random.default_rng(seed)


def pool(count, seed=0, dimensions=3, labelled=4):
    """Every column filled with random numbers that cannot be written to."""
    source = rng(seed)
    columns = {
        "predicted_loss": source.normal(size=count),
        "true_loss": source.gamma(2.0, size=count),
        "embedding": source.normal(size=(count, dimensions)),
        "labelled_embedding": source.normal(size=(labelled, dimensions)),
    }
    frozen = {name: values.astype(np.float32) for name, values in columns.items()}
    for values in frozen.values():
        values.flags.writeable = False
    return Candidates(names(count), **frozen)


def by_score(column, scores):
    return Candidates(names(len(scores)), **{column: np.array(scores, dtype=np.float32)})


@pytest.mark.parametrize("column", SCORED)
def test_the_highest_losses_come_first(column):
    found = SCORED[column].select(by_score(column, [0.1, -3, 7, 2, 0.5]), 3, rng())
    assert found == ["id-2", "id-3", "id-4"]


@pytest.mark.parametrize("column", SCORED)
def test_ties_fall_as_the_generator_says(column):
    candidates = by_score(column, [1, 1, 1, 1, 1, 5])
    draws = [SCORED[column].select(candidates, 4, rng(seed)) for seed in range(60)]
    assert draws == [SCORED[column].select(candidates, 4, rng(seed)) for seed in range(60)]
    assert all(draw[0] == "id-5" for draw in draws)
    assert {draw[1] for draw in draws} == set(names(5)), "file order is no reason to be chosen"


@pytest.mark.parametrize("acquisition", ALL[1:4], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(acquisition, bad):
    (column,) = acquisition.needs
    with pytest.raises(ValueError, match="1 of 3 scores are not finite"):
        acquisition.select(by_score(column, [1, bad, 2]), 1, rng())


@pytest.mark.parametrize("acquisition", ALL[1:], ids=lambda a: type(a).__name__)
def test_absent_columns_are_refused(acquisition):
    with pytest.raises(ValueError, match=r"need"):
        acquisition.select(Candidates(names(3)), 1, rng())


@settings(deadline=None, max_examples=60)
@given(
    scores=st.lists(st.sampled_from([-2.0, -0.0, 0.0, 1.5, 1.5, 7.0]), max_size=60),
    budget=st.integers(0, 70),
    seed=st.integers(0, 2**31),
)
def test_the_highest_are_those_of_a_full_sort_with_ties_in_the_order_of_their_lots(scores, budget, seed):
    lots = rng(seed).random(len(scores))
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], lots[row]))
    assert select_highest(np.array(scores, dtype=np.float32), budget, rng(seed)).tolist() == order[:budget]


def test_who_ties_with_the_last_place_has_an_equal_chance():
    """One place is left for three of equal score, after the one that is sure of its own."""
    counts = frequencies(PredictedLossAcquisition(), by_score("predicted_loss", [1, 3, 1, 0, 1]), 2, 3000, seed=5)
    assert agrees(counts, {("id-1", name): 1 / 3 for name in ("id-0", "id-2", "id-4")})


def test_the_oracle_needs_labels():
    with pytest.raises(ValueError, match="labels for the whole pool"):
        TrueLossAcquisition().select(by_score("predicted_loss", [1, 2, 3]), 1, rng())


@pytest.mark.parametrize("acquisition", ALL, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("count", "budget"), [(0, 0), (0, 3), (1, 1), (5, 0), (5, 5), (5, 9), (12, 7)])
def test_a_selection_is_distinct_known_ids_and_never_more_than_there_are(acquisition, count, budget):
    candidates = pool(count)
    found = acquisition.select(candidates, budget, rng())
    assert len(found) == len(set(found)) == min(count, budget) and set(found) <= set(candidates.ids)
    assert found == acquisition.select(candidates, budget, rng())
    assert all(isinstance(name, str) for name in found)


@pytest.mark.parametrize("acquisition", ALL, ids=lambda a: type(a).__name__)
def test_inputs_stay_as_they_are(acquisition):
    candidates = pool(20)
    acquisition.select(candidates, 8, rng())  # its arrays raise when they are written to
    for column in ("predicted_loss", "true_loss", "embedding", "labelled_embedding"):
        assert np.array_equal(getattr(candidates, column), getattr(pool(20), column))


def frequencies(acquisition, candidates, budget, draws, seed):
    generator = rng(seed)
    return Counter(tuple(acquisition.select(candidates, budget, generator)) for _ in range(draws))


def agrees(counts, probabilities):
    """Chi-square test at a level that this seed passes unless the distribution is another one."""
    draws = sum(counts.values())
    observed = [counts[outcome] for outcome in probabilities]
    assert sum(observed) == draws
    return stats.chisquare(observed, [p * draws for p in probabilities.values()]).pvalue > 1e-3


def test_random_selection_is_uniform():
    counts = frequencies(RandomAcquisition(), Candidates(names(4)), 2, 4000, seed=1)
    assert agrees(counts, dict.fromkeys(permutations(names(4), 2), 1 / 12))


def test_losses_of_one_to_four_are_drawn_in_proportion():
    candidates = by_score("predicted_loss", np.log([1, 2, 3, 4]) + 5)
    counts = frequencies(LossProportionalAcquisition(), candidates, 1, 4000, seed=2)
    assert agrees(counts, {(f"id-{i}",): (i + 1) / 10 for i in range(4)})
    assert not agrees(counts, {(f"id-{i}",): 1 / 4 for i in range(4)})


def test_drawing_goes_on_among_those_left_over():
    """Without replacement: P(i, then j) = l_i / 10 · l_j / (10 - l_i)."""
    candidates = by_score("predicted_loss", np.log([1, 2, 3, 4]))
    counts = frequencies(LossProportionalAcquisition(), candidates, 2, 4000, seed=3)
    expected = {(f"id-{i - 1}", f"id-{j - 1}"): i / 10 * j / (10 - i) for i, j in permutations((1, 2, 3, 4), 2)}
    assert agrees(counts, expected)


@pytest.mark.parametrize(("temperature", "weights"), [(0.0, (1, 1, 1, 1)), (2.0, (1, 4, 9, 16))])
def test_the_temperature_sharpens_or_flattens(temperature, weights):
    candidates = by_score("predicted_loss", np.log([1, 2, 3, 4]))
    counts = frequencies(LossProportionalAcquisition(temperature), candidates, 1, 4000, seed=4)
    assert agrees(counts, {(f"id-{i}",): w / sum(weights) for i, w in enumerate(weights)})


def distances(points, centres):
    return np.linalg.norm(points[:, None].astype(np.float64) - centres[None].astype(np.float64), axis=-1)


def k_centre(points, centres, budget):
    """Greedy k-centre as written in the paper, in double precision; the first of equals wins."""
    picks, known = [], centres
    for _ in range(min(budget, len(points))):
        nearest = distances(points, known).min(axis=1)
        nearest[picks] = -1
        picks.append(int(nearest.argmax()))
        known = np.concatenate([known, points[picks[-1:]]])
    return picks


def core_set(points, centres, budget, seed=0):
    candidates = Candidates(names(len(points)), embedding=points, labelled_embedding=centres)
    return [int(name.removeprefix("id-")) for name in CoreSetAcquisition().select(candidates, budget, rng(seed))]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 40),
    labelled=st.integers(1, 12),
    dimensions=st.integers(1, 8),
    offset=st.sampled_from([0.0, 3000.0]),
)
def test_core_set_is_greedy_k_centre(seed, count, labelled, dimensions, offset):
    source = rng(seed)
    points = (source.normal(size=(count, dimensions)) + offset).astype(np.float32)
    centres = (source.normal(size=(labelled, dimensions)) + offset).astype(np.float32)
    picks = core_set(points, centres, budget := count // 2 + 1)
    if picks != k_centre(points, centres, budget):  # two distances may agree to all digits of float32
        for step, pick in enumerate(picks):
            nearest = distances(points, np.concatenate([centres, points[picks[:step]]])).min(axis=1)
            assert nearest[pick] == pytest.approx(nearest.max(), abs=1e-3)


def test_core_set_with_more_labelled_points_than_one_block():
    source = rng(5)
    points, centres = (source.normal(size=(n, 4)).astype(np.float32) for n in (60, 2 * CENTRES_AT_ONCE + 3))
    assert core_set(points, centres, 10) == k_centre(points, centres, 10)


def test_core_set_on_a_line_by_hand():
    """Labelled 0; points 1, 2, 10, 6: first 10, then 6 (4 from 10), then 2 (2 from 0), then 1."""
    points, centres = np.array([[1], [2], [10], [6]], dtype=np.float32), np.zeros((1, 1), np.float32)
    assert core_set(points, centres, 4) == [2, 3, 1, 0]


@pytest.mark.parametrize("centres", [None, np.zeros((0, 2), np.float32)])
def test_core_set_without_labels_starts_anywhere_and_goes_on_greedily(centres):
    points = rng(6).normal(size=(9, 2)).astype(np.float32)
    starts = set()
    for seed in range(40):
        first, *rest = core_set(points, centres, 5, seed)
        others = [k_centre(points, points[[first]], 4)]
        assert [rest] == others
        starts.add(first)
    assert starts == set(range(9))


def test_core_set_takes_duplicates_last_and_nothing_twice():
    points = np.repeat(rng(7).normal(size=(4, 3)), 3, axis=0).astype(np.float32)
    centres = points[:1]
    picks = core_set(points, centres, 99)
    assert sorted(picks) == list(range(12))
    assert {pick // 3 for pick in picks[:3]} == {1, 2, 3}, "one of each new place before any repetition"


def plain(points, centres, budget):
    """Every distance Σ(x - c)² in float32, after every pick; the first of equals wins."""
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    for centre in centres:
        np.minimum(nearest, np.vecdot(points - centre, points - centre), out=nearest)
    picks = []
    for _ in range(min(budget, len(points))):
        picks.append(int(nearest.argmax()))
        np.minimum(nearest, np.vecdot(points - points[picks[-1]], points - points[picks[-1]]), out=nearest)
        nearest[picks] = -np.inf
    return picks


def many_points(kind, count):
    """More than a block holds: a cloud; a grid of equal distances; towers of equal points, ever farther apart."""
    source = rng(9)
    if kind == "cloud":
        return source.normal(size=(count, 8)).astype(np.float32)
    if kind == "grid":
        return source.integers(0, 6, (count, 3)).astype(np.float32)
    return np.repeat(1.3 ** np.arange(40, dtype=np.float32), count // 40)[source.permutation(count), None]


@pytest.mark.parametrize("labelled", [1, 100, 2000])
@pytest.mark.parametrize("kind", ["cloud", "grid", "towers"])
def test_core_set_picks_what_measuring_every_distance_picks(kind, labelled):
    points = many_points(kind, 6000)
    centres = points[-labelled:] / 2 if kind == "towers" else points[rng(10).permutation(6000)[:labelled]] + 0.5
    assert core_set(points, centres, 300) == plain(points, centres, 300)


def test_core_set_without_labels_in_a_large_pool_goes_on_as_plainly():
    points = many_points("cloud", 6000)
    first, *rest = core_set(points, None, 200)
    assert rest == plain(points, points[[first]], 199)


def test_core_set_reads_a_file_that_need_not_fit_into_memory(tmp_path):
    points = many_points("cloud", 6000)
    points.tofile(tmp_path / "column")
    mapped = np.memmap(tmp_path / "column", dtype=np.float32, mode="r", shape=points.shape)
    assert core_set(mapped, points[:50] + 1, 100) == plain(points, points[:50] + 1, 100)


def test_core_set_never_holds_a_distance_for_every_pair():
    """20,000 × 3,000 distances would take 240 MB, a second copy of the embeddings 5 MB; bounds and counts are 0.2."""
    source = rng(11)
    points, centres = (source.normal(size=(n, 64)).astype(np.float32) for n in (20_000, 3000))
    tracemalloc.start()
    core_set(points, centres, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48e6


def test_the_covering_radius_never_grows():
    source = rng(8)
    points, centres = (source.normal(size=(n, 5)).astype(np.float32) for n in (50, 3))
    picks, radius = core_set(points, centres, 50), np.inf
    for step in range(50):
        known = np.concatenate([centres, points[picks[:step]]])
        now = distances(points, known).min(axis=1).max()
        assert now <= radius + 1e-6
        radius = now
    assert distances(points, np.concatenate([centres, points[picks]])).min(axis=1).max() == 0
