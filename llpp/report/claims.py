"""What the runs of a section give evidence for: differences and correlations with their 95 % intervals.

With three seeds or more, an interval is over seeds, and speaks of the method. With fewer, it is over the images of
each run, and speaks of these runs only: then a claim needs all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llpp.report.collect import Method, Run
from llpp.report.evidence import (
    MIN_VALUES,
    Interval,
    combine_directions,
    compare_with_random_selections,
    compute_correlation_interval,
    compute_mean_interval,
    format_interval,
)
from llpp.report.metric import IMAGE_METRIC, POOL_METRIC, SELECTED_METRIC, TEST_METRIC
from llpp.run_dir.state import Round

TEST_FILE = "test.parquet"
CONSTANT_FILE = "constant.parquet"  # the quality of a prediction that looks at no image, for each test image
POOL_FILE = "scores.parquet"
RANKING = "loss_spearman"
RunRound = tuple[Run, Round]
Measure = Callable[[Run, Round], Interval | None]  # over the images of one round


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
    rounds = []
    differences = []
    for run, committed in _find_rounds(method, SELECTED_METRIC, labelled):
        selected = run.get_value(committed, SELECTED_METRIC)
        pool = run.get_value(committed, POOL_METRIC)
        if selected is not None and pool is not None:
            rounds.append((run, committed))
            differences.append(selected - pool)
    return _judge(rounds, differences, _compare_selected)


def judge_ranking(method: Method, labelled: int) -> Claim | None:
    """Judge whether predicted losses order the true ones, on the test images at this number of labels."""
    rounds = _find_rounds(method, RANKING, labelled)
    values = [float(run.get_value(committed, RANKING) or 0.0) for run, committed in rounds]
    return _judge(rounds, values, _bound_correlation)


def judge_difference(method: Method, other: Method, labelled: int) -> Claim | None:
    """Compare the test metric of two methods at this number of labels, paired by seed; None without a common seed."""
    ours = {str(run.seed): (run, committed) for run, committed in _find_rounds(method, TEST_METRIC, labelled)}
    theirs = {str(run.seed): (run, committed) for run, committed in _find_rounds(other, TEST_METRIC, labelled)}
    common = [seed for seed in ours if seed in theirs]
    differences = []
    for seed in common:
        value = ours[seed][0].get_value(ours[seed][1], TEST_METRIC)
        other_value = theirs[seed][0].get_value(theirs[seed][1], TEST_METRIC)
        differences.append((value or 0.0) - (other_value or 0.0))

    def compare_images(run: Run, committed: Round) -> Interval | None:
        other_run, other_committed = theirs[str(run.seed)]
        mine = _read_quality(run, committed, TEST_FILE)
        other_quality = _read_quality(other_run, other_committed, TEST_FILE)
        return _compare_paired(mine, other_quality)

    return _judge([ours[seed] for seed in common], differences, compare_images)


def judge_learning(method: Method) -> Claim | None:
    """Compare the test quality of the last round with that of a prediction that looks at no image.

    None where a run has not recorded the latter, as those of older versions.
    """
    rounds = [(run, run.state.rounds[-1]) for run in method.started_runs]
    intervals = []
    for run, committed in rounds:
        interval = _compare_with_constant(run, committed)
        if interval is None:
            return None
        intervals.append(interval)
    return _judge(rounds, [interval.value for interval in intervals], _compare_with_constant)


def average_quality(method: Method, file: str) -> float:
    """Average the quality of the test images after the last round, over images and then over runs."""
    means = []
    for run in method.started_runs:
        quality = _read_quality(run, run.state.rounds[-1], file)
        means.append(np.nan if quality is None else float(np.nanmean(quality[IMAGE_METRIC])))
    return float(np.mean(means))


def _find_rounds(method: Method, quantity: str, labelled: int) -> list[RunRound]:
    """Return the rounds that began with `labelled` images and know `quantity`, at most one per run."""
    found = []
    for run in method.runs:
        for committed in run.state.rounds:
            if committed.row["labelled"] == labelled and run.get_value(committed, quantity) is not None:
                found.append((run, committed))
                break
    return found


def _judge(rounds: Sequence[RunRound], values: Sequence[float], measure_images: Measure) -> Claim | None:
    """Judge over seeds, or over the images of each run where there are too few seeds; None where that is unknown."""
    if len(values) >= MIN_VALUES:
        interval = compute_mean_interval(values)
        return None if interval is None else Claim(interval.direction, (interval,), len(values))
    intervals = []
    for run, committed in rounds:
        interval = measure_images(run, committed)
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
    return compare_with_random_selections(pool[IMAGE_METRIC], np.isin(pool["id"], committed.selected))


def _bound_correlation(run: Run, committed: Round) -> Interval | None:
    columns = run.read_round_columns(committed.number, TEST_FILE, ("predicted_loss", "true_loss"))
    rho = run.get_value(committed, RANKING)
    if columns is None or rho is None:
        return None
    return compute_correlation_interval(rho, int(np.isfinite(columns["true_loss"]).sum()))


def _compare_with_constant(run: Run, committed: Round) -> Interval | None:
    tested = _read_quality(run, committed, TEST_FILE)
    constant = _read_quality(run, committed, CONSTANT_FILE)
    return _compare_paired(tested, constant)


def _compare_paired(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> Interval | None:
    """Compare qualities of the same images; None where a table is missing, or they are of other images."""
    if ours is None or theirs is None or not np.array_equal(ours["id"], theirs["id"]):
        return None
    return compute_mean_interval(np.subtract(ours[IMAGE_METRIC], theirs[IMAGE_METRIC], dtype=np.float64))
