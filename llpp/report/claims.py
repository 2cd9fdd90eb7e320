"""What the runs of a section give evidence for: differences and correlations with their 95 % intervals.

With three seeds or more, an interval is over seeds, and speaks of the method. With fewer, it is over the images of
each run, and speaks of these runs only: then a claim needs all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llpp.reliability.risk_coverage import compute_augrc_parts
from llpp.report.collect import Method, Run
from llpp.report.evidence import (
    MIN_VALUES,
    Interval,
    combine_directions,
    compare_with_random_selections,
    compute_correlation_interval,
    compute_mean_interval,
    describe_shortfall,
    format_interval,
)
from llpp.report.failure_scores import read_failure_scores
from llpp.report.metric import (
    CONFIDENCE_PREFIX,
    FAILURE_PREFIX,
    IMAGE_METRIC,
    POOL_METRIC,
    RANKER_PREFIX,
    SELECTED_METRIC,
    TEST_FILE,
    TEST_METRIC,
)
from llpp.run_dir.state import Round

CONSTANT_FILE = "constant.parquet"  # the quality of a prediction that looks at no image, for each test image
POOL_FILE = "scores.parquet"
RANKING = "loss_spearman"
CONFIDENCE = CONFIDENCE_PREFIX.removesuffix("_")  # what the others are held against
RunRound = tuple[Run, Round]


@dataclass(frozen=True)
class Claim:
    """What may be said of a measured value: where its intervals are."""

    direction: int  # 1: above 0, −1: below, 0: neither is shown
    intervals: tuple[Interval, ...]  # one over all seeds, or one over the images of each run
    seeds: int | None  # over which the interval is; None where it is over images

    @property
    def value(self) -> float:
        """The measured value, averaged over the runs."""
        return float(np.mean([interval.value for interval in self.intervals]))

    @property
    def bounds(self) -> str:
        """The ends of its intervals."""
        return " and ".join(map(format_interval, self.intervals))

    @property
    def basis(self) -> str:
        """What its intervals are over, in words."""
        return "images" if self.seeds is None else f"{self.seeds} seeds"

    def __str__(self) -> str:
        noun = "interval" if len(self.intervals) == 1 else "intervals"
        return f"95 % {noun} over {self.basis}: {self.bounds}"


def judge_selection(method: Method, labelled: int) -> Claim | None:
    """Compare the metric of the images selected at this number of labels with that of the pool."""
    selected = method.get_seed_values(SELECTED_METRIC, labelled)
    pool = method.get_seed_values(POOL_METRIC, labelled)
    rounds = _find_rounds(method, labelled)
    common = [seed for seed in selected if seed in pool]
    differences = [selected[seed] - pool[seed] for seed in common]
    return _judge(differences, (_compare_selected(*rounds[seed]) for seed in common))


def judge_ranking(method: Method, labelled: int) -> Claim | None:
    """Judge whether predicted losses order the true ones, on the test images at this number of labels."""
    correlations = method.get_seed_values(RANKING, labelled)
    rounds = _find_rounds(method, labelled)
    intervals = (_bound_correlation(*rounds[seed], rho) for seed, rho in correlations.items())
    return _judge(list(correlations.values()), intervals)


def judge_difference(method: Method, other: Method, labelled: int) -> Claim | None:
    """Compare the test metric of two methods at this number of labels, paired by seed; None without a common seed."""
    ours = method.get_seed_values(TEST_METRIC, labelled)
    theirs = other.get_seed_values(TEST_METRIC, labelled)
    our_rounds = _find_rounds(method, labelled)
    their_rounds = _find_rounds(other, labelled)
    common = [seed for seed in ours if seed in theirs]
    differences = [ours[seed] - theirs[seed] for seed in common]
    return _judge(differences, (_compare_tested(our_rounds[seed], their_rounds[seed]) for seed in common))


def judge_failure_finding(method: Method, labelled: int, prefix: str = FAILURE_PREFIX) -> Claim | None:
    """Compare the AUGRC of predicted losses with that of the network's own confidence, at this number of labels.

    With the prefix of the ranker, compare what ranks instead. Below 0, it finds failures better than the confidence.
    Runs whose test images all fail, or none, say nothing.
    """
    ours = method.get_seed_values(f"{prefix}augrc", labelled)
    by_confidence = method.get_seed_values(f"{CONFIDENCE_PREFIX}augrc", labelled)
    has_both = method.get_seed_values(f"{CONFIDENCE_PREFIX}auroc", labelled)
    rounds = _find_rounds(method, labelled)
    common = [seed for seed in ours if seed in by_confidence and seed in has_both]
    differences = [ours[seed] - by_confidence[seed] for seed in common]
    return _judge(differences, (_compare_with_confidence(*rounds[seed], prefix) for seed in common))


@dataclass(frozen=True)
class Shortfall:
    """A run whose last model is not shown to be better than a prediction that looks at no image."""

    run: Run
    quality: float  # mean of the test images after the last round
    constant: float  # that of the constant prediction
    advantage: Interval  # over images
    verdict: str  # what that shows


def list_shortfalls(method: Method) -> list[Shortfall]:
    """List the runs that are not shown to have learned: each is held against its own constant prediction.

    Runs that have not recorded the latter, as those of older versions, are left out.
    """
    found = []
    for run in method.started_runs:
        committed = run.state.rounds[-1]
        tested = _read_quality(run, committed, TEST_FILE)
        constant = _read_quality(run, committed, CONSTANT_FILE)
        advantage = _compare_paired(tested, constant)
        if tested is None or constant is None or advantage is None:
            continue
        verdict = describe_shortfall(advantage)
        if verdict is None:
            continue
        quality = tested[IMAGE_METRIC].astype(np.float64)
        baseline = constant[IMAGE_METRIC].astype(np.float64)
        both = np.isfinite(quality) & np.isfinite(baseline)
        means = (float(quality[both].mean()), float(baseline[both].mean()))
        found.append(Shortfall(run, *means, advantage, verdict))
    return found


def _find_rounds(method: Method, labelled: int) -> dict[str, RunRound]:
    """Return seed → its round that began with `labelled` images."""
    found = {}
    for run in method.runs:
        for committed in run.state.rounds:
            if committed.row["labelled"] == labelled:
                found[str(run.seed)] = (run, committed)
    return found


def _judge(values: Sequence[float], image_intervals: Iterable[Interval | None]) -> Claim | None:
    """Judge by the values of seeds, or where these are too few by the intervals over the images of each run.

    None where one of them is needed and unknown.
    """
    if len(values) >= MIN_VALUES:
        over_seeds = compute_mean_interval(values)
        return None if over_seeds is None else Claim(over_seeds.direction, (over_seeds,), len(values))
    intervals = []
    for interval in image_intervals:
        if interval is None:
            return None
        intervals.append(interval)
    if not intervals:
        return None
    return Claim(combine_directions(intervals), tuple(intervals), None)


def _read_quality(run: Run, committed: Round, file: str) -> dict[str, Any] | None:
    return run.read_round_columns(committed.number, file, ("id", IMAGE_METRIC))


def _compare_selected(run: Run, committed: Round) -> Interval | None:
    pool = _read_quality(run, committed, POOL_FILE)
    if pool is None:
        return None
    selected = np.isin(pool["id"], committed.selected)
    return _point_like_metric(run, compare_with_random_selections(pool[IMAGE_METRIC], selected))


def _compare_with_confidence(run: Run, committed: Round, prefix: str) -> Interval | None:
    scores = read_failure_scores(run, committed.number)
    if scores is None or CONFIDENCE not in scores.doubts:
        return None
    ranking = scores.predicted
    if prefix == RANKER_PREFIX and scores.ranked is not None:
        ranking = scores.ranked
    ours = compute_augrc_parts(ranking, scores.failed)
    by_confidence = compute_augrc_parts(scores.doubts[CONFIDENCE], scores.failed)
    return compute_mean_interval(ours - by_confidence)


def _compare_tested(ours: RunRound, theirs: RunRound) -> Interval | None:
    our_quality = _read_quality(*ours, TEST_FILE)
    their_quality = _read_quality(*theirs, TEST_FILE)
    return _point_like_metric(ours[0], _compare_paired(our_quality, their_quality))


def _point_like_metric(run: Run, interval: Interval | None) -> Interval | None:
    """Turn a difference of qualities, which are better when higher, into the direction of the run's metric."""
    if interval is None or run.higher_is_better:
        return interval
    return Interval(-interval.value, -interval.high, -interval.low)


def _bound_correlation(run: Run, committed: Round, rho: float) -> Interval | None:
    columns = run.read_round_columns(committed.number, TEST_FILE, ("predicted_loss", "true_loss"))
    if columns is None:
        return None
    return compute_correlation_interval(rho, int(np.isfinite(columns["true_loss"]).sum()))


def _compare_paired(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> Interval | None:
    """Compare qualities of the same images; None where a table is missing, or they are of other images."""
    if ours is None or theirs is None or not np.array_equal(ours["id"], theirs["id"]):
        return None
    return compute_mean_interval(np.subtract(ours[IMAGE_METRIC], theirs[IMAGE_METRIC], dtype=np.float64))
