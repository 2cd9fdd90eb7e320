"""Who judges which label: networks of folds, or those of the run's rounds, none of which trained on it."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.checking.folds import divide_into_folds
from llpp.checking.judging import Columns, judge_labels
from llpp.errors import StateError
from llpp.files import compute_sha256, read_text, replace_text
from llpp.hashing import hash_json
from llpp.inference.evaluation import Evaluation
from llpp.journal.snapshot import list_labels, read_snapshot
from llpp.report.files import read_columns
from llpp.rounds.records import write_scores
from llpp.rounds.run import Run
from llpp.run_dir import layout
from llpp.run_dir.round_dir import LABELS, get_round_dir
from llpp.run_dir.state import RunState
from llpp.training.module import RoundPart

log = logging.getLogger(__name__)
Rows = NDArray[np.int64]
JUDGED = "judged.parquet"
FACTS = "judged.json"  # for whom JUDGED was written, and its digest
MAX_BYTES = 1 << 20
MIN_TRAINED = 20  # labelled images without which a network learns nothing that could judge


@dataclass(frozen=True)
class Judgement:
    """What one network says about the labels of some images."""

    judge: str  # fold 0, round 2
    rows: Rows  # (R,) of the dataset
    columns: Mapping[str, NDArray[np.float32]]  # (R, …), see `LabelJudge`


@dataclass(frozen=True)
class CheckedRun:
    """A run that is checked: its parts, built again, its committed rounds, and where results go."""

    run: Run  # its directory is the folder of results
    source: Path  # the run directory
    state: RunState
    asks_people: bool = False  # people give its labels: all that there are were trained on, or will be


def find_labelled_ids(checked: CheckedRun, number: int) -> set[str]:
    """The ids whose labels round `number` had; it trained on those that are for training."""
    path = get_round_dir(checked.source, number) / LABELS
    if path.exists():
        return set(list_labels(read_snapshot(path)))
    labelled = list(checked.state.initial)
    for committed in checked.state.rounds[:number]:
        labelled += committed.selected
    return set(labelled)


def judge_by_rounds(checked: CheckedRun, rows: Rows) -> list[Judgement]:
    """Let every label be judged by the last round that did not train on it, if its weights are there."""
    records = checked.run.data.dataset.records
    names = np.asarray(records.ids.take(rows))
    may_be_trained = records.split[rows] == "train"
    judge = np.full(len(rows), -1, dtype=np.int64)
    available = []
    for committed in checked.state.rounds:
        name = checked.run.trainer.get_tested_checkpoint(committed.number).name
        if layout.is_damaged(checked.source, committed, name):
            log.warning("weights of round %d are missing or damaged, so that it judges no label", committed.number)
        else:
            available.append(committed.number)
    for number in available:
        trained = may_be_trained & np.isin(names, list(find_labelled_ids(checked, number)))
        judge[~trained] = number
    judgements = []
    for number in available:
        chosen = rows[judge == number]
        if len(chosen):
            judgements.append(_judge_by_round(checked, number, chosen))
    return judgements


def _judge_by_round(checked: CheckedRun, number: int, rows: Rows) -> Judgement:
    run = checked.run
    path = get_round_dir(checked.source, number) / run.trainer.get_tested_checkpoint(number).name
    digest = checked.state.rounds[number].files.get(path.name, "")
    directory = run.directory / f"by_round_{number:02d}"
    key = _make_key(run, rows, [digest])
    columns = _read_judged(directory, key)
    if columns is None:
        log.info("%s labels are judged by round %d", f"{len(rows):,}", number)
        module = run.trainer.make_module(RoundPart(number))
        module.load_state_dict(layout.read_weights(path))
        trainer = run.trainer.make_trainer(directory, key, False)
        run.data.open_crops()
        loaders = run.data.make_loaders(rows[:1].tolist(), rows[:1].tolist(), number)
        columns = judge_labels(trainer, module.eval(), loaders, rows)
        _write_judged(directory, key, run, rows, columns)
    return Judgement(f"round {number}", rows, columns)


@dataclass(frozen=True)
class _Fold:
    """A part of the labels, and what the network that trained on the others says about them."""

    number: int  # from 1
    directory: Path
    trained_on: Rows
    judged: Rows
    key: str
    columns: Columns | None  # None: to be trained


def judge_by_folds(checked: CheckedRun, rows: Rows, folds: int) -> list[Judgement]:
    """Train a network for each fold on the labelled images of the others, and let it judge that fold.

    A fold that was trained and judged before, with the same labels and settings, is read; one whose training was
    interrupted is resumed.
    """
    run = checked.run
    records = run.data.dataset.records
    groups = list(records.group.take(rows)) if records.group is not None else list(records.ids.take(rows))
    assigned = divide_into_folds(groups, folds, run.settings.seed)
    plans = []
    for number in range(1, folds + 1):
        trained_on = rows[assigned != number - 1]
        judged = rows[assigned == number - 1]
        directory = run.directory / f"fold_{number}_of_{folds}"
        key = _make_key(run, judged, list(records.ids.take(trained_on)))
        plans.append(_Fold(number, directory, trained_on, judged, key, _read_judged(directory, key)))
    missing = sum(plan.columns is None for plan in plans)
    if missing:
        log.info("%s", describe_cost(checked.state, len(rows), folds, missing))
    judgements = []
    for plan in plans:
        columns = _judge_fold(checked, plan, folds) if plan.columns is None else plan.columns
        judgements.append(Judgement(f"fold {plan.number} of {folds}", plan.judged, columns))
    return judgements


def _judge_fold(checked: CheckedRun, fold: _Fold, folds: int) -> Columns:
    run = checked.run
    log.info(
        "fold %d of %d: training on %s labels, to judge %s others",
        fold.number,
        folds,
        f"{len(fold.trained_on):,}",
        f"{len(fold.judged):,}",
    )
    run.data.open_crops()
    ids = tuple(run.data.dataset.records.ids.take(fold.trained_on))
    validation = run.data.select_rows("val", checked.state)
    loaders = run.data.make_loaders(fold.trained_on.tolist(), validation.tolist(), 0)
    trained = replace(run.trainer, run_dir=fold.directory).train(0, ids, loaders, 0, "")
    columns = judge_labels(trained.trainer, trained.module.eval(), loaders, fold.judged)
    _write_judged(fold.directory, fold.key, run, fold.judged, columns)
    return columns


def _make_key(run: Run, rows: Rows, others: Sequence[str]) -> str:
    """Digest of what decides a judgement; the settings have a digest of all labels."""
    judged = list(run.data.dataset.records.ids.take(rows))
    return hash_json([dict(run.result_settings), run.code, judged, list(others)])


def _read_judged(directory: Path, key: str) -> Columns | None:
    """Read what was judged before; None if it was not, or with other labels, or if the file is damaged."""
    try:
        facts: Any = json.loads(read_text(directory / FACTS, MAX_BYTES))
        if facts["key"] != key:
            return None
        names = [str(name) for name in facts["columns"]]
        found = read_columns(directory / JUDGED, names, str(facts["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def _write_judged(directory: Path, key: str, run: Run, rows: Rows, columns: Columns) -> None:
    path = directory / JUDGED
    write_scores(path, list(run.data.dataset.records.ids.take(rows)), Evaluation(columns, {}))
    facts = {"key": key, "sha256": compute_sha256(path), "columns": list(columns)}
    replace_text(directory / FACTS, json.dumps(facts, indent=1))


def describe_cost(state: RunState, labelled: int, folds: int, missing: int) -> str:
    """Say what will be trained for the `missing` ones of the folds, and about how long it takes."""
    trained_on = labelled - labelled // folds
    sentence = f"{missing} of {folds} networks will be trained, each on about {trained_on:,} of {labelled:,} labels"
    seconds = estimate_seconds(state, folds)
    if seconds is not None:
        duration = _format_duration(seconds * missing / folds)
        sentence += f", in {duration}, if this machine is as fast as that of the run"
    return f"{sentence}; --folds 0 trains nothing, and judges only labels that a round of the run has not trained on"


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def estimate_seconds(state: RunState, folds: int) -> float | None:
    """How long training all folds takes, by the seconds of the run's last round; None where these are not known.

    All folds together train on the labels folds - 1 times; the passes over them take little.
    """
    for committed in reversed(state.rounds):
        seconds = committed.row.get("seconds_train")
        is_own = not committed.row.get("base_reused")
        labelled = committed.row.get("labelled")
        if seconds and is_own and labelled:
            last = state.rounds[-1].row.get("labelled") or labelled
            return float(seconds) * float(last) / float(labelled) * (folds - 1)
    return None


def check_enough(labelled: int, folds: int) -> None:
    """Raise StateError if networks of folds would train on too few labels."""
    trained_on = labelled - -(-labelled // folds)
    if trained_on < MIN_TRAINED:
        raise StateError(
            f"{labelled} training images have labels, so that each of {folds} networks would train on {trained_on}, "
            f"and {MIN_TRAINED} are needed: label more, or use --folds 0, which trains nothing"
        )
