"""How well failures are found: the scores of a round's test images, and the table of the rankings that find them.

The rankings: by predicted loss, which is what a head is for; by what the network says about itself, such as its
confidence, which costs nothing; by what ranks in the run, where that was chosen; by the true loss, which nobody has;
and at random. T test images whose loss and quality are known.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.inference.loss_ranking import COVERAGES, FAILURE_QUALITY, compute_failure_metrics
from llpp.reliability.calibration import CalibrationSet
from llpp.reliability.rankers import FAILURE_SCORE, HEAD
from llpp.report.collect import Cell, Method, Run, Section
from llpp.report.metric import (
    FAILURE_PREFIX,
    FAILURE_SHARE,
    IMAGE_METRIC,
    RANKER_PREFIX,
    TEST_FILE,
    list_free_rankers,
)
from llpp.report.tables import Entry, Grid, GridRow, describe_spread, format_mean_and_spread

MEASURES = {
    "augrc": "AUGRC",
    "aurc": "AURC",
    "auroc": "AUROC",
    **{f"risk_at_{percent}": f"failures at {percent} %" for percent in COVERAGES},
}
Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class FailureScores:
    """What a round has written about its T test images."""

    predicted: Values  # (T,) losses
    true: Values  # (T,) losses
    quality: Values  # (T,)
    group: NDArray[np.str_]  # (T,)
    # (T,) each, negative, what the network says about itself, by name; without those that were not recorded
    doubts: Mapping[str, Values] = field(default_factory=dict)
    ranked: Values | None = None  # (T,) the scores of what ranks; None where that is the predicted loss
    ranker: str = ""  # what that is

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(T,) which of them are failures."""
        return self.quality < FAILURE_QUALITY

    @property
    def has_both(self) -> bool:
        """Whether some images fail and others do not, so that there is something to find."""
        return 0 < int(self.failed.sum()) < len(self.failed)

    @property
    def calibration(self) -> CalibrationSet:
        """The same as a set to calibrate with."""
        return CalibrationSet(self.predicted.astype(np.float64), self.failed, self.group)


def read_failure_scores(run: Run, number: int) -> FailureScores | None:
    """Read the scores of round `number`; None if the file is gone or damaged.

    Older versions recorded neither confidence nor groups; then each image is a group.
    """
    committed = run.state.rounds[number]
    columns = run.read_round_columns(number, TEST_FILE, ("id", "predicted_loss", "true_loss", IMAGE_METRIC))
    if columns is None:
        return None
    doubts = {}
    for name in list_free_rankers(committed.row):
        found = run.read_round_columns(number, TEST_FILE, (name,))
        if found is not None:
            doubts[name] = -found[name]
    ranked = None
    if committed.ranker is not None:
        ranked = run.read_round_columns(number, TEST_FILE, (FAILURE_SCORE,))
    groups = run.read_round_columns(number, TEST_FILE, ("group",))
    known = np.ones(len(columns["id"]), dtype=bool)
    for name in ("predicted_loss", "true_loss", IMAGE_METRIC):
        known &= np.isfinite(columns[name])
    names = columns["id"] if groups is None else groups["group"]
    return FailureScores(
        predicted=columns["predicted_loss"][known],
        true=columns["true_loss"][known],
        quality=columns[IMAGE_METRIC][known],
        group=names[known].astype(np.str_),
        doubts={name: values[known] for name, values in doubts.items()},
        ranked=None if ranked is None else ranked[FAILURE_SCORE][known],
        ranker=committed.ranker_name,
    )


def describe_ranking(name: str) -> str:
    """What a ranker is called in sentences: head, a column of the network's, or a sum of both."""
    if name == HEAD:
        return "predicted loss"
    return name if "+" in name else f"the network's own {name}"


def count_rankers(method: Method, labelled: int) -> Counter[str]:
    """How many seeds of a method rank by what, at this number of labels; empty where nothing was chosen."""
    names: Counter[str] = Counter()
    for run in method.started_runs:
        for committed in run.state.rounds:
            if committed.ranker is not None and committed.row["labelled"] == labelled:
                names[committed.ranker_name] += 1
    return names


def list_free_rankers_of(method: Method) -> list[str]:
    """What the networks of a method say about themselves, first what its first round recorded first."""
    names: dict[str, None] = {}
    for committed in method.rounds:
        names |= dict.fromkeys(list_free_rankers(committed.row))
    return list(names)


def build_failure_grids(section: Section) -> list[Grid]:
    """Build the table of the rankings at the largest number of labels that all seeds of all methods reached.

    Empty where no round has measured them.
    """
    labelled = section.find_last_common_count(FAILURE_SHARE)
    if labelled is None:
        return []
    rows: list[GridRow] = []
    for method in section.started_methods:
        prefix = f"{method.label}: " if len(section.started_methods) > 1 else ""
        rows += _build_rows(method, labelled, prefix)
    if not rows:
        return []
    title = f"Failures among the test images, with {labelled:,} labelled images, ranked by …"
    note = (
        f"{describe_spread(section)}; a failure is an image with {section.metric_title} below one half; failures at "
        "80 %: their share among the 80 % that seem surest; lower is better, but for AUROC"
    )
    columns = (*MEASURES.values(), "failures at 100 %")
    return [Grid(title, note, columns, tuple(rows), corner="ranked by")]


def _build_rows(method: Method, labelled: int, prefix: str) -> list[GridRow]:
    """Build a row per ranking."""
    share = method.compute_cell(FAILURE_SHARE, labelled)
    if share is None or method.compute_cell(f"{FAILURE_PREFIX}augrc", labelled) is None:
        return []

    def get_recorded(ranking: str) -> Callable[[str], Cell | None]:
        return lambda measure: method.compute_cell(f"{ranking}{measure}", labelled)

    true_loss = _measure_true_loss(method, labelled)
    rankings: dict[str, Callable[[str], Cell | None]] = {
        describe_ranking(HEAD): get_recorded(FAILURE_PREFIX),
    }
    for name in list_free_rankers_of(method):
        rankings[describe_ranking(name)] = get_recorded(f"{name}_")
    used = count_rankers(method, labelled)
    if used:
        rankings[f"what ranks: {_list_counted(used)}"] = get_recorded(RANKER_PREFIX)
    rankings |= {
        "true loss, if one knew it": true_loss.get,
        "chance": lambda measure: _expect_at_random(measure, share),
    }
    rows = []
    for name, get_cell in rankings.items():
        cells = [get_cell(measure) for measure in MEASURES]
        if any(cells):
            entries = [Entry(format_mean_and_spread(cell)) if cell else None for cell in (*cells, share)]
            rows.append((f"{prefix}{name}", str(len(share.values)), tuple(entries)))
    return rows


def _list_counted(names: Counter[str]) -> str:
    """Return `head+confidence`, or where seeds differ `head (2), confidence (1)`."""
    if len(names) == 1:
        return next(iter(names))
    return ", ".join(f"{name} ({count})" for name, count in names.most_common())


def _measure_true_loss(method: Method, labelled: int) -> dict[str, Cell]:
    """Measure how well the true losses find the failures, for each seed whose test scores can be read."""
    found: dict[str, list[float]] = {}
    for run in method.started_runs:
        for committed in run.state.rounds:
            scores = read_failure_scores(run, committed.number) if committed.row["labelled"] == labelled else None
            if scores is None:
                continue
            for measure, value in compute_failure_metrics(scores.true, scores.quality).items():
                found.setdefault(measure, []).append(value)
    return {measure: _make_cell(values) for measure, values in found.items() if np.isfinite(values).all()}


def _expect_at_random(measure: str, share: Cell) -> Cell:
    """What a measure is on average where the order is chance, from the share of failures."""
    if measure == "auroc":
        return _make_cell([0.5] * len(share.values))
    factor = 0.5 if measure == "augrc" else 1.0
    return _make_cell([factor * value for value in share.values])


def _make_cell(values: list[float]) -> Cell:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Cell(float(np.mean(values)), std, tuple(values), 0)
