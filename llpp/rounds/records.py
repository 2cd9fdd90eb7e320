"""The files of a run directory: what each holds, and how it is written.

config.yaml   the resolved config           rounds.csv   one row per committed round
state.json    the commit point               skipped.csv  ids whose image cannot be read, if any
records.parquet  what was known about every record at the start; see `growth`
wandb.json    id of the W&B run, if any, and what it has been told
round_NN/     last.ckpt with its digest in last.ckpt.sha256, test.parquet, and if the round selected: scores.parquet,
              selected.csv, poses.parquet
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pytorch_lightning.loggers import Logger

from llpp.files import replace_file, replace_text
from llpp.ids import Ids
from llpp.inference.evaluation import PER_IMAGE, Evaluation
from llpp.inference.loss_ranking import compute_ranking_metrics as ranking_of_losses
from llpp.run_dir.state import Row, RunState, save_state


def write_initial_files(state: RunState, run_dir: Path, config: str) -> None:
    """Write what a run has before its first round, or write it again."""
    replace_text(run_dir / "config.yaml", config)
    save_state(state, run_dir / "state.json")
    write_rounds(state, run_dir)
    if state.skipped:
        rows = [{"id": i, "reason": reason} for i, reason in state.skipped.items()]
        replace_text(run_dir / "skipped.csv", to_csv(rows))


def write_rounds(state: RunState, run_dir: Path) -> None:
    """Write `rounds.csv` from the state."""
    if state.rounds:
        replace_text(run_dir / "rounds.csv", to_csv([r.row for r in state.rounds]))


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a column that a row lacks, or whose value is unknown, is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_scores(path: Path, ids: Sequence[str], scores: Evaluation) -> None:
    """Write id and every column of an evaluation as Parquet."""
    columns: dict[str, Any] = {"id": Ids(ids).array}
    for name, values in scores.columns.items():
        flat = values.reshape(len(values), -1)
        column = pa.array(flat.reshape(-1))
        columns[name] = column if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(column, flat.shape[1])
    table = pa.table(columns)
    # ids and scores hardly repeat: dictionaries of them would only take time. The report, which reads other people's
    # runs, accepts no codec that makes gigabytes of kilobytes
    replace_file(path, lambda part: pq.write_table(table, part, compression="snappy", use_dictionary=False))


def write_selection(directory: Path, selected: Sequence[str], chosen: Evaluation) -> None:
    """Write `selected.csv` in order of selection and `poses.parquet` with the predicted joints, image pixels."""
    predicted = chosen.columns["predicted_loss"].tolist()
    rows = [
        {"rank": rank, "id": i, "predicted_loss": f"{value:.6g}"}
        for rank, (i, value) in enumerate(zip(selected, predicted, strict=True), start=1)
    ]
    replace_text(directory / "selected.csv", to_csv(rows))
    write_scores(directory / "poses.parquet", selected, chosen)


def _replace_nan(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def build_test_row(number: int, labelled: int, validation: int, tested: Evaluation) -> Row:
    """The columns that every round has; `validation` labels have steered its training."""
    curve = {f"test_pck_at_{k[3:]}": v for k, v in tested.pck.items() if k.startswith("at/")}
    joints = {f"test_pck_{k[6:]}": v for k, v in tested.pck.items() if k.startswith("joint/")}
    ranking = evaluate_loss_ranking(tested)
    return {
        "round": number,
        "labelled": labelled,
        "validation_labels": validation,
        "test_pck": _replace_nan(tested.pck["mean"]),
        "test_pck_auc": _replace_nan(tested.pck["auc"]),
        **{name: _replace_nan(value) for name, value in (curve | joints).items()},
        "test_undefined": int(tested.pck["undefined"]),
        "test_loss": tested.compute_mean("true_loss"),
        "loss_spearman": _replace_nan(ranking["spearman"]),
        "loss_pair_accuracy": _replace_nan(ranking["pair_accuracy"]),
        "failure_auroc": _replace_nan(ranking["auroc"]),
    }


def evaluate_loss_ranking(scores: Evaluation) -> dict[str, float]:
    """How well predicted losses order the true ones, over the rows where those are known."""
    predicted, true, pck = (scores.columns[name] for name in PER_IMAGE)
    known = np.isfinite(true)
    return ranking_of_losses(predicted[known], true[known], pck[known])


def build_selection_row(chosen: Evaluation, pool: Evaluation | None) -> Row:
    """The columns of a round that selects: the selected images beside the whole unlabelled pool."""
    return {
        "selected": len(chosen.columns["true_loss"]),
        "selected_pck": _replace_nan(chosen.pck["mean"]),
        "pool_pck": _replace_nan(pool.pck["mean"]) if pool else None,
        "selected_loss_mean": chosen.compute_mean("true_loss"),
        "selected_loss_std": chosen.compute_std("true_loss"),
        "pool_loss_mean": pool.compute_mean("true_loss") if pool else None,
    }


def log_round(loggers: Iterable[Logger], row: Row) -> None:
    """Send a round's measurements to loggers as `round/…`, at the step where its training ended."""
    for logger in loggers:
        logger.log_metrics(to_logger_metrics(row), step=int(row["steps"] or 0))
        logger.save()


def to_logger_metrics(row: Row) -> dict[str, float]:
    """A round's known measurements under the names that loggers get."""
    return {f"round/{name}": value for name, value in row.items() if value is not None}


def format_round_line(run_dir: Path, row: Row, rounds: int) -> str:
    """A round in one line that a person can read."""
    number = int(row["round"] or 0)
    parts = [
        f"{run_dir.parent.name}/{run_dir.name} · round {number} ({number + 1}/{rounds})",
        f"{row['labelled']} labelled",
    ]
    parts.append(_format_measure("test PCK", row["test_pck"]))
    parts.append(_format_measure("ρ(predicted, true loss)", row["loss_spearman"]))
    if "selected_pck" in row:
        pool = "" if row["pool_pck"] is None else f" (pool {row['pool_pck']:.3f})"
        parts.append(f"{row['selected']} selected, " + _format_measure("PCK", row["selected_pck"]) + pool)
    seconds = sum(v for k, v in row.items() if k.startswith("seconds_") and v is not None)
    return " · ".join([*parts, f"{seconds:.0f} s"])


def _format_measure(name: str, value: float | None) -> str:
    return f"{name} –" if value is None else f"{name} {value:.3f}"
