"""When labelling could have stopped, by six rules, and what audits say about the whole pool. No rule ends a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.errors import StateError
from llpp.ids import Ids
from llpp.inference.loss_ranking import FAILURE_QUALITY
from llpp.journal.snapshot import read_snapshot
from llpp.reliability.audit import PoolEstimate, estimate_mean_quality
from llpp.reliability.stopping import (
    MIN_CURVE_ROUNDS,
    STABLE_ROUNDS,
    compute_gain,
    estimate_by_calibration,
    is_exhausted,
    is_stable,
)
from llpp.report.collect import Run, Section
from llpp.report.evidence import format_signed
from llpp.report.metric import DEFAULT_NAME, IMAGE_METRIC, TEST_FILE, TEST_METRIC
from llpp.report.tables import Entry, Grid, GridRow, describe_spread, format_counts, format_number_of
from llpp.run_dir.round_dir import AUDIT, LABELS
from llpp.run_dir.state import Row

DEFAULT_GAIN = 0.01
NO_AUDIT = "needs an audit, of two images at least: audit=0.1"
POOL_FILE = "scores.parquet"
PREDICTIONS = "predictions.parquet"
ANSWERS = "answered.parquet"
VALIDATION_FILE = "validation.parquet"
SECONDS_PREFIX = "seconds_"
COST_NOTE = "costs: means over the seeds that would have stopped"
NOTE = (
    "Rules that say when labelling could have stopped; none of them ends a run, and none is best everywhere. S1: the "
    "lower end of the audit's interval reaches the target. S2: that of the test images does. S3: by the curve "
    "a − b · n^−c through the test metric, as many labels again as last time add less than the gain. S4: the images "
    "that the acquisition chooses are hardly worse than images drawn by chance. S5: 98 % of the predictions for the "
    "same test images stay where they were, twice. S6: as S1, from predicted losses, calibrated on test and "
    "validation images and corrected by the audited ones. Labels are those that the round's model was trained on; "
    "what an audit says of it is known when the batch after it is labelled, too."
)
Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Limits:
    """What is good enough; None: as a run's config says."""

    target: float | None = None  # mean quality of an image
    gain: float | None = None  # of the test metric, that the next budget must bring


@dataclass(frozen=True)
class Verdict:
    """What a rule says about one run."""

    round: int | None  # after which labelling would have stopped; None: not yet, or it is not known
    says: str  # what it measured last, or what it lacks
    is_known: bool = True


@dataclass(frozen=True)
class RoundMeasures:
    """What the rules need of a round; None where it is not known."""

    labelled: int
    test_metric: float | None  # higher is better
    tested: PoolEstimate | None  # mean quality of the test images
    audit: PoolEstimate | None
    chosen_quality: float | None
    stable_share: float | None
    calibrated: PoolEstimate | None
    failures: tuple[float, float, float] | None  # images of the pool that fail: estimate, low, high


def read_limits(run: Run, given: Limits | None) -> Limits:
    """The limits that are given, and otherwise those that a run's config names."""
    section = run.config.get("report")
    values: Mapping[str, Any] = section if isinstance(section, Mapping) else {}
    target = values.get("target")
    gain = values.get("gain", DEFAULT_GAIN)
    if given is not None and given.target is not None:
        target = given.target
    if given is not None and given.gain is not None:
        gain = given.gain
    # A config may come from other people.
    return Limits(
        float(target) if isinstance(target, int | float) else None,
        float(gain) if isinstance(gain, int | float) else DEFAULT_GAIN,
    )


def list_verdicts(run: Run, limits: Limits) -> dict[str, Verdict]:
    """Apply every rule to a run with at least one committed round: rule → what it says."""
    measures = [_read_measures(run, number) for number in range(len(run.state.rounds))]
    selects_at_random = run.get_plug_in("acquisition") == "random"
    return {
        "S1 target, by the audit": _judge_target(measures, lambda one: one.audit, limits, NO_AUDIT),
        "S2 target, by the test images": _judge_target(
            measures, lambda one: one.tested, limits, "needs test images with labels"
        ),
        "S3 little gain": _judge_gain(measures, limits),
        "S4 failures exhausted": _judge_exhaustion(measures, selects_at_random),
        "S5 stable predictions": _judge_stability(measures),
        "S6 target, by predicted losses": _judge_calibrated(measures, limits),
    }


def _judge_target(
    measures: Sequence[RoundMeasures],
    get_estimate: Callable[[RoundMeasures], PoolEstimate | None],
    limits: Limits,
    lack: str,
) -> Verdict:
    """Stop where the lower end of an interval reaches the target."""
    estimates = [get_estimate(one) for one in measures]
    known = [estimate for estimate in estimates if estimate is not None]
    if not known:
        return Verdict(None, lack, is_known=False)
    says = format_estimate(known[-1])
    if limits.target is None:
        return Verdict(None, f"{says}; needs report.target", is_known=False)
    for number, estimate in enumerate(estimates):
        if estimate is not None and estimate.low >= limits.target:
            return Verdict(number, f"{format_estimate(estimate)} ≥ {limits.target:g}")
    return Verdict(None, f"{says}, target {limits.target:g}")


def _judge_gain(measures: Sequence[RoundMeasures], limits: Limits) -> Verdict:
    """Stop where the next labels would add less than the gain."""
    counts: list[float] = []
    values: list[float] = []
    gain = None
    wanted = DEFAULT_GAIN if limits.gain is None else limits.gain
    for number, one in enumerate(measures):
        if one.test_metric is None:
            continue
        counts.append(float(one.labelled))
        values.append(one.test_metric)
        budget = int(counts[-1] - counts[-2]) if len(counts) > 1 else 0
        if budget < 1:
            continue
        gain = compute_gain(np.array(counts), np.array(values), budget)
        if gain is not None and gain < wanted:
            return Verdict(number, f"{budget:,} more add {format_signed(gain)}")
    if gain is None:
        return Verdict(None, f"needs {MIN_CURVE_ROUNDS} tested rounds, has {len(counts)}", is_known=False)
    return Verdict(None, f"{budget:,} more add {format_signed(gain)}")


def _judge_exhaustion(measures: Sequence[RoundMeasures], selects_at_random: bool) -> Verdict:
    """Stop where chosen images are hardly worse than those drawn by chance."""
    if selects_at_random:
        return Verdict(None, "selects at random", is_known=False)
    says = None
    for number, one in enumerate(measures):
        if one.audit is None or one.chosen_quality is None:
            continue
        low = format_signed(one.audit.low - one.chosen_quality)
        high = format_signed(one.audit.high - one.chosen_quality)
        says = f"pool − chosen: {format_signed(one.audit.value - one.chosen_quality)} ({low} to {high})"
        if is_exhausted(one.audit, one.chosen_quality):
            return Verdict(number, says)
    if says is None:
        return Verdict(None, NO_AUDIT, is_known=False)
    return Verdict(None, says)


def _judge_stability(measures: Sequence[RoundMeasures]) -> Verdict:
    """Stop where predictions have stayed where they were."""
    shares = [one.stable_share for one in measures]
    known = [share for share in shares if share is not None]
    if len(known) < STABLE_ROUNDS:
        return Verdict(None, f"needs {STABLE_ROUNDS + 1} rounds that recorded their predictions", is_known=False)
    for number in range(len(shares)):
        if is_stable(shares[: number + 1]):
            return Verdict(number, f"{100 * (shares[number] or 0.0):.1f} % stayed")
    return Verdict(None, f"{100 * known[-1]:.1f} % stayed")


def _judge_calibrated(measures: Sequence[RoundMeasures], limits: Limits) -> Verdict:
    lack = "needs an audit, and the predicted losses of the pool"
    verdict = _judge_target(measures, lambda one: one.calibrated, limits, lack)
    failures = [one.failures for one in measures if one.failures is not None]
    if not failures:
        return verdict
    of_stop = None if verdict.round is None else measures[verdict.round].failures
    count, low, high = of_stop or failures[-1]
    says = f"{verdict.says}; failures left: {count:,.0f} ({low:,.0f} to {high:,.0f})"
    return Verdict(verdict.round, says, verdict.is_known)


def format_estimate(estimate: PoolEstimate) -> str:
    """Return `0.683 (0.512 to 0.811)`; what chance has taken beyond 0 or 1 is shown as these."""
    value = min(max(estimate.value, 0.0), 1.0)
    return f"{value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _read_measures(run: Run, number: int) -> RoundMeasures:
    row = run.state.rounds[number].row
    metric = run.get_value(run.state.rounds[number], TEST_METRIC)
    if metric is not None and not run.higher_is_better:
        metric = -metric
    found = find_audit_row(run, number)
    calibrated, failures = _calibrate(run, number) if found is not None else (None, None)
    return RoundMeasures(
        labelled=int(row["labelled"] or 0),
        test_metric=metric,
        tested=_measure_test_images(run, number),
        audit=None if found is None else _to_estimate(found),
        chosen_quality=None if found is None else _get_float(found, "chosen_quality"),
        stable_share=_get_float(row, "stable_share"),
        calibrated=calibrated,
        failures=failures,
    )


def _get_float(row: Row, name: str) -> float | None:
    value = row.get(name)
    return None if value is None else float(value)


def find_audit_row(run: Run, number: int) -> Row | None:
    """The row that says what the audit of round `number` has found: its own, or that of a later round."""
    for committed in run.state.rounds[number:]:
        row = committed.row
        names = ("audit_quality", "audit_low", "audit_high", "audit_measured")
        if row.get("audit_round") == number and all(row.get(name) is not None for name in names):
            return row
    return None


def _to_estimate(row: Row) -> PoolEstimate:
    return PoolEstimate(
        value=float(row["audit_quality"] or 0.0),
        low=float(row["audit_low"] or 0.0),
        high=float(row["audit_high"] or 0.0),
        measured=int(row["audit_measured"] or 0),
        unknown=int(row.get("audit_open") or 0),
    )


def _measure_test_images(run: Run, number: int) -> PoolEstimate | None:
    columns = run.read_round_columns(number, TEST_FILE, (IMAGE_METRIC,))
    if columns is None:
        return None
    return estimate_mean_quality(columns[IMAGE_METRIC])


def _calibrate(run: Run, number: int) -> tuple[PoolEstimate | None, tuple[float, float, float] | None]:
    """Estimate the pool's mean quality and its failures from predicted losses; None where a table is not there."""
    nothing = (None, None)
    tested = _read_calibration_images(run, number)
    pool = run.read_round_columns(number, POOL_FILE, ("predicted_loss",))
    audit = run.read_round_columns(number, AUDIT, ("id", "draw", "probability", "candidates", "predicted_loss"))
    selected = _read_selected(run, number)
    if tested is None or pool is None or audit is None or selected is None:
        return nothing
    count = len(pool["predicted_loss"])
    # Where several persons share an image, draws are of images, and the table is of persons.
    drawn = len(audit["id"])
    is_one_each = drawn > 0 and count == audit["candidates"][0] and len(np.unique(audit["draw"])) == drawn
    has_losses = np.isfinite(pool["predicted_loss"]).all() and np.isfinite(audit["predicted_loss"]).all()
    if not is_one_each or not has_losses:
        return nothing
    places = Ids(selected["id"].tolist()).find_rows(Ids(audit["id"].tolist()))
    if (places < 0).any():
        return nothing
    audited = selected[IMAGE_METRIC][places]
    is_unknown = np.isnan(audited) & (selected["closed"][places] == 0)

    def estimate(measure: Callable[[Values], Values]) -> PoolEstimate | None:
        return estimate_by_calibration(
            tested["predicted_loss"],
            measure(tested[IMAGE_METRIC]),
            pool["predicted_loss"],
            audit["predicted_loss"],
            measure(audited),
            audit["probability"],
            is_unknown,
        )

    succeeded = estimate(_mark_successes)
    failures = None
    if succeeded is not None:
        share = min(max(succeeded.value, 0.0), 1.0)
        failures = (count * (1 - share), count * (1 - succeeded.high), count * (1 - succeeded.low))
    return estimate(lambda quality: quality), failures


def _read_calibration_images(run: Run, number: int) -> dict[str, Values] | None:
    """Read losses and known qualities of the test images, and of validation images that have steered nothing."""
    names = ("predicted_loss", IMAGE_METRIC)
    tables = []
    for file in (TEST_FILE, VALIDATION_FILE):
        columns = run.read_round_columns(number, file, names)
        if columns is not None:
            tables.append(columns)
    if not tables:
        return None
    joined = {name: np.concatenate([table[name] for table in tables]) for name in names}
    is_known = np.isfinite(joined["predicted_loss"]) & np.isfinite(joined[IMAGE_METRIC])
    return {name: values[is_known] for name, values in joined.items()}


def _mark_successes(quality: Values) -> Values:
    """1 for an image that is no failure, 0 for a failure; NaN where that is not known."""
    return np.where(np.isfinite(quality), (quality >= FAILURE_QUALITY).astype(np.float64), np.nan)


def _read_selected(run: Run, number: int) -> dict[str, Any] | None:
    """Read id, quality and whether a label may still come (`closed` 0) of what round `number` selected.

    Where labels came later, they are in the round after it.
    """
    if number + 1 < len(run.state.rounds) and ANSWERS in run.state.rounds[number + 1].files:
        return run.read_round_columns(number + 1, ANSWERS, ("id", IMAGE_METRIC, "closed"))
    columns = run.read_round_columns(number, PREDICTIONS, ("id", IMAGE_METRIC))
    if columns is None:
        return None
    return columns | {"closed": np.ones(len(columns["id"]))}


def build_stopping_grids(section: Section, given: Limits | None = None) -> list[Grid]:
    """Build a table per method: for each rule, after how many labels it would have stopped, and what those cost."""
    grids = []
    labels = "labelled joints" if section.metric == DEFAULT_NAME else "labels"
    columns = ["would have stopped at", labels, "machine, seconds"]
    if any(LABELS in committed.files for committed in section.rounds):
        columns.append("people, seconds")
    for method in section.started_methods:
        verdicts = [(run, list_verdicts(run, read_limits(run, given))) for run in method.started_runs]
        rules = list(verdicts[0][1])
        rows: list[GridRow] = []
        for rule in rules:
            of_rule = [(run, found[rule]) for run, found in verdicts]
            rows.append((rule, str(len(of_rule)), _build_stop_entries(of_rule)[: len(columns)]))
        grids.append(Grid(method.label, COST_NOTE, tuple(columns), tuple(rows), corner="rule"))
    return grids


def _build_stop_entries(verdicts: Sequence[tuple[Run, Verdict]]) -> tuple[Entry | None, ...]:
    """Return the label counts of all seeds, and the mean cost of those that would have stopped."""
    stops = []
    labels = []
    seconds = []
    labelling = []
    for run, verdict in verdicts:
        if verdict.round is None:
            stops.append("not yet" if verdict.is_known else "–")
            continue
        rounds = run.state.rounds[: verdict.round + 1]
        stops.append(f"{int(rounds[-1].row['labelled'] or 0):,}")
        count = rounds[-1].row.get("label_count")
        if count is not None:
            labels.append(float(count))
        seconds.append(sum(_sum_seconds(committed.row) for committed in rounds))
        taken = _read_labelling_seconds(run, verdict.round)
        if taken is not None:
            labelling.append(taken)
    distinct = list(dict.fromkeys(stops))
    text = distinct[0] if len(distinct) == 1 else ", ".join(stops)
    says = list(dict.fromkeys(verdict.says for _, verdict in verdicts))
    notes = [says[0]] if len(says) == 1 else [f"seed {run.seed}: {verdict.says}" for run, verdict in verdicts]
    return Entry(text, notes=tuple(notes)), _build_cost(labels), _build_cost(seconds), _build_cost(labelling)


def _sum_seconds(row: Row) -> float:
    """The seconds of a round's own work."""
    return sum(float(value) for name, value in row.items() if name.startswith(SECONDS_PREFIX) and value is not None)


def _read_labelling_seconds(run: Run, number: int) -> float | None:
    """How long people had labelled when round `number` began; None where no tool says so."""
    if LABELS not in run.state.rounds[number].files:
        return None
    try:
        seconds = read_snapshot(run.get_round_path(number, LABELS)).seconds
    except StateError:
        return None
    return float(seconds) if isinstance(seconds, int | float) else None


def _build_cost(values: Sequence[float]) -> Entry | None:
    return Entry(f"{sum(values) / len(values):,.0f}") if values else None


def build_audit_grids(section: Section) -> list[Grid]:
    """Build the table of what audits say about the pool; empty where no audit was measured."""
    counts: dict[int, None] = {}
    cells: dict[tuple[str, int], list[tuple[PoolEstimate, float | None]]] = {}
    for method in section.started_methods:
        for run in method.started_runs:
            for committed in run.state.rounds:
                row = find_audit_row(run, committed.number)
                if row is None:
                    continue
                labelled = int(committed.row["labelled"] or 0)
                counts[labelled] = None
                truth = _read_pool_quality(run, committed.number)
                cells.setdefault((method.label, labelled), []).append((_to_estimate(row), truth))
    if not counts:
        return []
    ordered = sorted(counts)
    rows: list[GridRow] = []
    for method in section.started_methods:
        entries = [_build_audit_entry(cells.get((method.label, count), [])) for count in ordered]
        rows.append((method.label, str(len(method.started_runs)), tuple(entries)))
    title = f"Mean {section.metric_title} of an image of the pool, by images drawn by chance"
    note = f"{describe_spread(section)}; 95 % interval of each; in simulations also the pool's own mean"
    return [Grid(title, note, format_counts(ordered), tuple(rows))]


def _build_audit_entry(found: Sequence[tuple[PoolEstimate, float | None]]) -> Entry | None:
    if not found:
        return None
    values = [estimate.value for estimate, _ in found]
    text = f"{min(max(float(np.mean(values)), 0.0), 1.0):.3f}"
    if len(values) > 1:
        text += f" ± {np.std(values, ddof=1):.3f}"
    notes = []
    for estimate, _ in found:
        words = f"{estimate.low:.3f} to {estimate.high:.3f}, {format_number_of(estimate.measured, 'image')}"
        if estimate.unknown:
            words += f", {estimate.unknown} more without a label yet"
        notes.append(words)
    truths = [truth for _, truth in found if truth is not None]
    if len(truths) == len(found):
        held = 0
        for (estimate, _), truth in zip(found, truths, strict=True):
            held += estimate.low <= truth <= estimate.high
        notes.append(f"pool {np.mean(truths):.3f}, within {held} of {len(found)}")
    return Entry(text, notes=tuple(notes))


def _read_pool_quality(run: Run, number: int) -> float | None:
    """The mean quality of all that could be drawn, where a simulation has measured it."""
    columns = run.read_round_columns(number, POOL_FILE, (IMAGE_METRIC,))
    if columns is None:
        return None
    known = columns[IMAGE_METRIC][np.isfinite(columns[IMAGE_METRIC])]
    return float(known.mean()) if len(known) else None
