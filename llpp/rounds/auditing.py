"""The audit: some images of each budget are drawn by chance, and say how good a round's model is on the whole pool.

A round draws them before its acquisition chooses the rest, and records each draw. Where the labels are known at once,
the round measures them; where people give them, the next start does, from what the round had predicted.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.ids import Ids
from llpp.inference.evaluation import Evaluation
from llpp.oracles.base import Oracle
from llpp.reliability.audit import MIN_MEASURED, draw_by_chance, estimate_pool_quality
from llpp.report.files import read_columns
from llpp.run_dir.round_dir import AUDIT, get_round_dir
from llpp.run_dir.state import Round, Row, RunState
from llpp.seeds import Stream, make_rng
from llpp.settings import Settings
from llpp.tasks.base import Task

log = logging.getLogger(__name__)
ANSWERS = "answered.parquet"  # of the round after it, where people give the labels
PREDICTIONS = "predictions.parquet"
TEST = "test.parquet"
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Audit:
    """What a round has drawn. Records that are labelled together, such as the persons of an image, are one draw."""

    ids: list[str]  # (n,) records in the order of their draws
    draw: NDArray[np.int64]  # (n,) number of each record's draw, from 1
    probability: Values  # (n,) of that draw, given those before it
    count: int  # how many there were to draw from
    predicted_loss: Values  # (n,) of the record; NaN where the pool was not scored

    @property
    def number(self) -> int:
        """How many draws there are."""
        return int(self.draw[-1]) if len(self.draw) else 0


def count_audited(settings: Settings, wanted: int) -> int:
    """How many of the images that a round asks for are drawn by chance; a single one says nothing, so none is."""
    share = int(settings.audit * wanted + 0.5)
    return share if share >= MIN_MEASURED else 0


def draw_audit(
    settings: Settings,
    number: int,
    oracle: Oracle,
    ids: Ids,
    wanted: int,
    predicted_loss: NDArray[np.float32] | None,
    failure_score: NDArray[np.float32] | None = None,
) -> Audit:
    """Draw the images that round `number` audits, `wanted` in all; the same whenever it is repeated.

    An image is as likely as the one of its records with the largest failure score, which is the predicted loss unless
    another is given. Only rank 0 calls it.
    """
    unit = oracle.find_units(ids)
    names, members = np.unique(unit, return_inverse=True)
    scores = predicted_loss if failure_score is None else failure_score
    tilted_by = None
    if scores is not None:
        tilted_by = np.full(len(names), -np.inf)
        np.maximum.at(tilted_by, members, scores.astype(np.float64))
    rng = make_rng(Stream.AUDIT, settings.seed, number)
    draws = draw_by_chance(len(names), min(wanted, len(names)), rng, tilted_by, settings.audit_tilt)
    place_of_unit = np.full(len(names), -1)
    place_of_unit[draws.places] = np.arange(len(draws.places))
    rows = np.flatnonzero(place_of_unit[members] >= 0)
    rows = rows[np.argsort(place_of_unit[members[rows]], kind="stable")]
    place = place_of_unit[members[rows]]
    own_loss = np.full(len(rows), np.nan) if predicted_loss is None else predicted_loss[rows].astype(np.float64)
    return Audit(list(ids.take(rows)), place + 1, draws.probability[place], len(names), own_loss)


def list_audit_columns(audit: Audit) -> dict[str, Values]:
    """The columns of `audit.parquet` next to the ids; all are floats, as those of other tables are."""
    return {
        "draw": audit.draw.astype(np.float64),
        "probability": audit.probability,
        "candidates": np.full(len(audit.ids), float(audit.count)),
        "predicted_loss": audit.predicted_loss,
    }


def read_audit(path: Path, digest: str | None) -> Audit | None:
    """Read what a round has drawn; None if it drew nothing, or the file is damaged."""
    columns = read_columns(path, ("id", "draw", "probability", "candidates", "predicted_loss"), digest)
    if columns is None or not len(columns["id"]):
        return None
    draw = columns["draw"].astype(np.int64)
    ids = [str(name) for name in columns["id"]]
    return Audit(ids, draw, columns["probability"], int(columns["candidates"][0]), columns["predicted_loss"])


@dataclass(frozen=True)
class Measured:
    """The qualities of the images that a round selected, by the model that selected them."""

    round: int  # that selected them
    ids: Sequence[str]  # (S,) records
    quality: Values  # (S,) NaN where unknown
    is_closed: NDArray[np.bool_]  # (S,) whether its label is known, or will never be


def _collect_draws(audit: Audit, measured: Measured) -> tuple[Values, NDArray[np.bool_]]:
    """Return (M,) the quality of each draw, NaN without one, and (M,) whether it may still get one.

    The quality of an image is the mean over those of its persons that have one.
    """
    places = Ids(measured.ids).find_rows(Ids(audit.ids))
    is_there = places >= 0
    quality = np.where(is_there, measured.quality[places], np.nan)
    is_open = ~is_there | ~measured.is_closed[places]
    draws = audit.draw - 1
    known = np.isfinite(quality)
    sums = np.bincount(draws, weights=np.where(known, quality, 0.0), minlength=audit.number)
    counts = np.bincount(draws, weights=known, minlength=audit.number)
    means = np.full(audit.number, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    waits = np.bincount(draws, weights=is_open, minlength=audit.number) > 0
    return means, waits & np.isnan(means)


def build_audit_row(audit: Audit, measured: Measured, tested: NDArray[np.floating]) -> Row:
    """The columns that say what an audit has found; `tested` are the qualities of that round's test images.

    With fewer than two measured draws, there is no estimate.
    `chosen_quality` is the mean quality of the images that the acquisition chose, the audited ones left out.
    """
    known = tested[np.isfinite(tested)]
    # Any guess that was made before the audit will do, and this is the best there is.
    centre = float(known.mean()) if len(known) else 0.5
    quality, is_unknown = _collect_draws(audit, measured)
    first = np.unique(audit.draw, return_index=True)[1]
    estimate = estimate_pool_quality(audit.probability[first], audit.count, quality, is_unknown, centre)
    is_audited = Ids(measured.ids).is_in(Ids(audit.ids))
    chosen = measured.quality[~is_audited]
    chosen = chosen[np.isfinite(chosen)]
    row: Row = {
        "audit_round": measured.round,
        "audit_measured": int(np.isfinite(quality).sum()),
        "audit_open": int(is_unknown.sum()),
        "audit_quality": None if estimate is None else estimate.value,
        "audit_low": None if estimate is None else estimate.low,
        "audit_high": None if estimate is None else estimate.high,
        "chosen_quality": float(chosen.mean()) if len(chosen) else None,
    }
    return row


@dataclass(frozen=True)
class Answers:
    """What the labels that came after a round say about it."""

    measured: Measured
    row: Row  # columns of the round that finds them


def measure_answers(run_dir: Path, state: RunState, task: Task, oracle: Oracle) -> Answers | None:
    """Measure what the last round selected by the labels that people have given since then.

    Its predictions were kept, so no pass over the images is needed. Only rank 0 calls it.

    Returns:
        None where the last round audited nothing or has measured it itself, or where its files are gone.
    """
    last = state.rounds[-1] if state.rounds else None
    if last is None or AUDIT not in last.files or last.row.get("audit_round") == last.number:
        return None
    directory = get_round_dir(run_dir, last.number)
    audit = read_audit(directory / AUDIT, last.files[AUDIT])
    measured = _measure_predictions(directory, last, task, oracle)
    if audit is None or measured is None:
        log.warning("files of round %d are missing or damaged; how good its model is, is not known", last.number)
        return None
    tested = read_columns(directory / TEST, ("quality",), last.files.get(TEST))
    quality = np.zeros(0) if tested is None else tested["quality"]
    return Answers(measured, build_audit_row(audit, measured, quality))


def _measure_predictions(directory: Path, last: Round, task: Task, oracle: Oracle) -> Measured | None:
    """Measure what a round has predicted for the images that it selected; None where that is gone."""
    path = directory / PREDICTIONS
    columns = read_columns(path, ("id", *sorted(task.shown)), last.files.get(PREDICTIONS))
    if columns is None:
        return None
    ids = [str(name) for name in columns.pop("id")]
    rows = task.dataset.records.ids.find_rows(Ids(ids))
    is_there = rows >= 0
    quality = np.full(len(ids), np.nan)
    predictions = {name: values[is_there] for name, values in columns.items()}
    quality[is_there] = task.evaluate_predictions(predictions, rows[is_there])
    return Measured(last.number, ids, quality, oracle.find_closed(ids))


def list_answer_columns(measured: Measured) -> dict[str, Values]:
    """The columns of `answered.parquet` next to the ids."""
    return {"quality": measured.quality, "closed": measured.is_closed.astype(np.float64)}


def measure_selected(number: int, ids: Sequence[str], scores: Evaluation) -> Measured:
    """The qualities of what round `number` selected, where the labels are known at once."""
    quality = scores.columns["quality"].astype(np.float64)
    return Measured(number, ids, quality, np.ones(len(ids), dtype=np.bool_))


@dataclass(frozen=True)
class AuditedQuality:
    """What an audit says of the mean quality of an image of the whole pool, 0 to 1."""

    estimate: float
    high: float  # the upper end of its 95 % interval


def get_audited_quality(rounds: Sequence[Round], answers: Answers | None = None) -> AuditedQuality | None:
    """How good the last audited model is on the whole pool; None where no audit has been measured.

    Args:
        rounds: committed ones.
        answers: what has become known of the last of them since then.
    """
    rows = [committed.row for committed in rounds]
    if answers is not None:
        rows.append(answers.row)
    for row in reversed(rows):
        estimate, high = row.get("audit_quality"), row.get("audit_high")
        if estimate is not None and high is not None:
            return AuditedQuality(min(max(float(estimate), 0.0), 1.0), float(high))
    return None
