"""What a run writes in its rounds, file by file.

config.yaml   the resolved config           rounds.csv   one row per committed round
state.json    the commit point               skipped.csv  ids whose image cannot be read, if any
records.parquet  what was known about every record at the start; see `pool_growth`
images.parquet   size, date and digest of every image file; see `image_files`
wandb.json    id of the W&B run, if any, and how far it has been sent
round_NN/     last.ckpt, with training.weights=best also best.ckpt, each with its digest (last.ckpt.sha256);
              in round 0 with training.base=backbone also backbone/, with the same; test.parquet;
              validation.parquet, unless the validation images have steered the training;
              constant.parquet, the test images' quality by a prediction that looks at no image;
              watched.parquet, predictions of the same test images in every round;
              if the round selected, scores.parquet, selected.csv, predictions.parquet; with an audit, audit.parquet,
              and where its labels came after the round, answered.parquet in the next one
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition
from llpp.files import replace_file, replace_text
from llpp.ids import Ids
from llpp.inference.evaluation import PER_IMAGE, Evaluation
from llpp.inference.loss_ranking import (
    compute_failure_metrics,
    compute_failure_share,
    compute_ranking_metrics,
    spearman,
)
from llpp.reliability.rankers import FAILURE_SCORE, Ranker
from llpp.report.evidence import compute_mean_interval, describe_shortfall, format_interval, format_signed
from llpp.rounds.auditing import (
    ANSWERS,
    Answers,
    build_audit_row,
    list_answer_columns,
    list_audit_columns,
    measure_selected,
)
from llpp.rounds.selection import Selection
from llpp.run_dir.round_dir import AUDIT
from llpp.run_dir.state import Row, RunState, save_state
from llpp.tasks.base import Task
from llpp.types import Progress

GROUP = "group"  # column of test.parquet: which images are not independent of each other


def write_initial_files(state: RunState, run_dir: Path, config: str) -> None:
    """Write what a run has before its first round, or write it again."""
    replace_text(run_dir / "config.yaml", config)
    save_state(state, run_dir / "state.json")
    write_rounds(state, run_dir)
    if state.skipped:
        rows = [{"id": name, "reason": reason} for name, reason in state.skipped.items()]
        replace_text(run_dir / "skipped.csv", to_csv(rows))


def write_rounds(state: RunState, run_dir: Path) -> None:
    """Write `rounds.csv` from the state."""
    if state.rounds:
        rows = [{**committed.row, "ranker": committed.ranker_name} for committed in state.rounds]
        replace_text(run_dir / "rounds.csv", to_csv(rows))


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a column that a row lacks, or whose value is unknown, is empty."""
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_scores(path: Path, ids: Sequence[str], scores: Evaluation, groups: Sequence[str] | None = None) -> None:
    """Write id and every column of an evaluation as Parquet; `groups` are those of the records, see `Records`."""
    write_columns(path, ids, scores.columns, groups)


def write_columns(
    path: Path, ids: Sequence[str], arrays: Mapping[str, NDArray[Any]], groups: Sequence[str] | None = None
) -> None:
    """Write id and arrays (N, …) of floats as Parquet; see `write_scores`."""
    columns: dict[str, Any] = {"id": Ids(ids).array}
    if groups is not None:
        columns[GROUP] = Ids(groups).array
    for name, values in arrays.items():
        # Without any row, as without test images, -1 would not say how many columns there are.
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        column = pa.array(flat.reshape(-1))
        if values.ndim > 1:
            column = pa.FixedSizeListArray.from_arrays(column, flat.shape[1])
        columns[name] = column
    table = pa.table(columns)
    # Ids and scores hardly repeat: dictionaries of them would only take time. The report, which reads other people's
    # runs, accepts no codec that makes gigabytes of kilobytes.
    replace_file(path, lambda part: pq.write_table(table, part, compression="snappy", use_dictionary=False))


def write_constant(path: Path, ids: Sequence[str], quality: NDArray[np.float64]) -> None:
    """Write id and (N,) the quality of a prediction that looks at no image, see `Task.evaluate_constant`."""
    write_scores(path, ids, Evaluation({"quality": quality.astype(np.float32)}, {}))


def write_selection(directory: Path, selection: Selection, files: Sequence[str] = ()) -> None:
    """Write what a round has selected, and from what; `files` are those of the selected images, if they are files.

    `selected.csv` is in the order of selection, `predictions.parquet` has what the task shows of these images, and
    `scores.parquet` has all that was scored.
    """
    if selection.pool_scores is not None:
        # Embeddings are too large to keep.
        kept = {}
        for name in (*PER_IMAGE, FAILURE_SCORE):
            if name in selection.pool_scores.columns:
                kept[name] = selection.pool_scores.columns[name]
        scores = replace(selection.pool_scores, columns=kept)
        write_scores(directory / "scores.parquet", selection.pool_ids, scores)
    predicted = selection.scores.columns["predicted_loss"].tolist()
    ranked = selection.scores.columns.get(FAILURE_SCORE)
    draws = {}
    # A killed start, which may have had another `audit`, leaves its draws.
    (directory / AUDIT).unlink(missing_ok=True)
    if selection.audit is not None:
        audit = selection.audit
        write_columns(directory / AUDIT, audit.ids, list_audit_columns(audit))
        draws = dict(zip(audit.ids, zip(audit.draw.tolist(), audit.probability.tolist(), strict=True), strict=True))
    rows = []
    for number, (name, value) in enumerate(zip(selection.ids, predicted, strict=True)):
        row: dict[str, int | str] = {"rank": number + 1, "id": name}
        if files:
            row["file"] = files[number]
        row["predicted_loss"] = f"{value:.6g}"
        if ranked is not None:
            row[FAILURE_SCORE] = f"{ranked[number]:.6g}"
        if draws:
            draw, probability = draws.get(name, ("", None))
            row["audit_draw"] = draw
            row["audit_probability"] = "" if probability is None else f"{probability:.9g}"
        rows.append(row)
    replace_text(directory / "selected.csv", to_csv(rows))
    write_scores(directory / "predictions.parquet", selection.ids, selection.scores)


def write_answers(directory: Path, answers: Answers) -> None:
    """Write how good a round turned out to be on the images that it selected, once these had labels."""
    measured = answers.measured
    write_columns(directory / ANSWERS, measured.ids, list_answer_columns(measured))


def _replace_nan(value: float | int | None) -> float | int | None:
    return None if value is None or math.isnan(value) else value


def build_row(number: int, task: Task, labelled: int, validation: int, tested: Evaluation) -> Row:
    """The columns that every round has; `validation` labels have steered its training."""
    ranking = evaluate_loss_ranking(tested)
    measures = {f"test_{name}": _replace_nan(value) for name, value in tested.metric.items()}
    measures.setdefault(f"test_{task.metric_name}", None)
    return {
        "round": number,
        "labelled": labelled,
        "validation_labels": validation,
        **measures,
        "test_loss": tested.compute_mean("true_loss"),
        "loss_spearman": _replace_nan(ranking["spearman"]),
        "loss_pair_accuracy": _replace_nan(ranking["pair_accuracy"]),
        **_build_failure_columns(task, tested),
    }


def _build_failure_columns(task: Task, tested: Evaluation) -> Row:
    """How many test images fail, and how well predicted losses, and what the network gives for nothing, find them.

    Images whose loss or quality is unknown are left out.
    """
    true = tested.columns["true_loss"]
    known = np.isfinite(true)
    quality = tested.columns["quality"][known]
    columns: Row = {"failure_share": _replace_nan(compute_failure_share(quality))}
    columns |= _measure_failure_finding("failure", tested.columns["predicted_loss"], tested)
    for free in task.free_rankers:
        if free in tested.columns:
            # The less confident, the likelier a failure.
            doubt = -tested.columns[free]
            columns[f"{free}_spearman"] = _replace_nan(spearman(doubt[known], true[known]))
            columns |= _measure_failure_finding(free, doubt, tested)
    return columns


def build_ranker_columns(ranker: Ranker, tested: Evaluation) -> Row:
    """How well what ranks in this round finds the failures among the test images, see `_build_failure_columns`."""
    if not ranker.columns <= set(tested.columns):
        # A pass over no image has no column of the task.
        return {}
    return _measure_failure_finding("ranker", ranker.compute_scores(tested.columns), tested)


def _measure_failure_finding(prefix: str, score: NDArray[np.float32], tested: Evaluation) -> Row:
    """How well a score (N,) finds failures, as columns with this prefix."""
    known = np.isfinite(tested.columns["true_loss"])
    measured = compute_failure_metrics(score[known], tested.columns["quality"][known])
    return {f"{prefix}_{name}": _replace_nan(value) for name, value in measured.items()}


def evaluate_loss_ranking(scores: Evaluation) -> dict[str, float]:
    """How well predicted losses order the true ones, over the rows where those are known."""
    true = scores.columns["true_loss"]
    known = np.isfinite(true)
    return compute_ranking_metrics(scores.columns["predicted_loss"][known], true[known])


def build_selection_row(task: Task, selection: Selection) -> Row:
    """The columns of a round that selects: the selected images and all that was scored, as far as known."""
    chosen = selection.scores if selection.answered else None
    pool = selection.pool_scores if selection.pool_is_known else None
    return {
        "selected": len(selection.ids),
        f"selected_{task.metric_name}": _get_metric(chosen, task),
        f"pool_{task.metric_name}": _get_metric(pool, task),
        "selected_loss_mean": chosen.compute_mean("true_loss") if chosen else None,
        "selected_loss_std": chosen.compute_std("true_loss") if chosen else None,
        "pool_loss_mean": pool.compute_mean("true_loss") if pool else None,
    }


def build_audit_columns(number: int, selection: Selection, tested: Evaluation) -> Row:
    """The columns about what round `number` audits, where it does: what it has found, if labels are known at once."""
    if selection.audit is None:
        return {}
    row: Row = {"audited": selection.audit.number}
    if selection.answered:
        measured = measure_selected(number, selection.ids, selection.scores)
        row |= build_audit_row(selection.audit, measured, tested.columns["quality"])
    return row


def build_progress_columns(acquisition: Acquisition, progress: Progress | None, selection: Selection) -> Row:
    """The columns about how far a selection leans to high losses, where what the acquisition knows decides that."""
    if progress is None or not selection.ids:
        return {}
    return {"competence": progress.competence, "beta": acquisition.compute_beta(progress)}


def _get_metric(scores: Evaluation | None, task: Task) -> float | int | None:
    return None if scores is None else _replace_nan(scores.metric.get(task.metric_name))


def format_round_line(run_dir: Path, task: Task, row: Row, rounds: int | None) -> str:
    """A round in one line that a person can read; `rounds` of a run that has an end."""
    number = int(row["round"] or 0)
    progress = "" if rounds is None else f" ({number + 1}/{rounds})"
    parts = [
        f"{run_dir.parent.name}/{run_dir.name} · round {number}{progress}",
        f"{row['labelled']} labelled",
        _format_measure(f"test {task.metric_title}", row[f"test_{task.metric_name}"]),
        _format_measure("ρ(predicted, true loss)", row["loss_spearman"]),
    ]
    selected = f"selected_{task.metric_name}"
    if selected in row:
        pool = row[f"pool_{task.metric_name}"]
        compared = "" if pool is None else f" (pool {pool:.3f})"
        measure = _format_measure(task.metric_title, row[selected])
        parts.append(f"{row['selected']} selected, {measure}{compared}")
    seconds = sum(value for name, value in row.items() if name.startswith("seconds_") and value is not None)
    return " · ".join([*parts, f"{seconds:.0f} s"])


def describe_leaning(row: Row, progress: Progress | None) -> str | None:
    """Return a sentence about the β of a round's selection and why; None where nothing is measured to decide it."""
    beta = row.get("beta")
    if progress is None or beta is None:
        return None
    start = f"round {row['round']} selects with β = {beta:.2f}"
    if progress.competence is None:
        return f"{start}; its competence is unknown: set audit=0.1, or have validation images"
    start = f"{start}, by a competence of {progress.competence:.3f}"
    if progress.source == "audit":
        return f"{start}, which the audit has measured"
    if progress.source == "both":
        return f"{start} on the validation images, with which the audit is in accord"
    remedy = ""
    if progress.round > 0:
        remedy = "; if these are not like the pool, set audit=0.1 to measure it on images of the pool"
    return f"{start} on the validation images{remedy}"


def describe_audit(task: Task, row: Row) -> str | None:
    """Return a sentence about what an audit has found; None where this round has measured none."""
    value = row.get("audit_quality")
    if value is None:
        return None
    shown = min(max(value, 0.0), 1.0)
    sentence = (
        f"the model of round {row['audit_round']} has a mean {task.metric_title} of {shown:.3f} on an image of the "
        f"whole pool (95 % interval {row['audit_low']:.3f} to {row['audit_high']:.3f}, from "
        f"{row['audit_measured']} images drawn by chance)"
    )
    unknown = row.get("audit_open")
    return f"{sentence}; {unknown} more had no label yet, which makes the interval wider" if unknown else sentence


def describe_no_learning(number: int, task: Task, tested: Evaluation, constant: NDArray[np.float64]) -> str | None:
    """Return a sentence if a round's model is not shown to be better than a prediction that looks at no image.

    None if it is, or if there are too few test images to say.
    """
    quality = tested.columns["quality"].astype(np.float64)
    both = np.isfinite(quality) & np.isfinite(constant)
    difference = compute_mean_interval(quality[both] - constant[both])
    verdict = None if difference is None else describe_shortfall(difference)
    if difference is None or verdict is None:
        return None
    return (
        f"round {number}: {verdict}; the mean {task.metric_title} of a test image is {quality[both].mean():.3f}, and "
        f"{constant[both].mean():.3f} by {task.constant_title} ({format_signed(difference.value)}; 95 % interval "
        f"over {both.sum()} images: {format_interval(difference)}); train longer (trainer.max_epochs=…), with more "
        "labels (in simulations: initial=…), or look at the labels with llpp data"
    )


def _format_measure(name: str, value: float | None) -> str:
    return f"{name} –" if value is None else f"{name} {value:.3f}"
