"""Before round 0: are the images readable, do the sizes fit, and which ids are labelled at the start?"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.distributed import collectives
from llpp.errors import ConfigError, DataError, RankError
from llpp.ids import Ids
from llpp.oracles.base import KnownLabels
from llpp.rounds.run import RunData
from llpp.run_dir.state import RunState
from llpp.seeds import Stream, make_rng
from llpp.settings import Settings
from llpp.tasks.base import Task

log = logging.getLogger(__name__)
VISIBILITY_TIMEOUT = 20.0  # seconds that a shared file system may take to show a new file


def create_initial_state(settings: Settings, result_settings: Mapping[str, Any], data: RunData) -> RunState:
    """Check every image, each rank its share, and draw the ids that are labelled before round 0."""
    records = data.dataset.records
    train = records.split == "train"
    check_sizes(settings, int((records.may_start & train).sum()), int(train.sum()))
    bad = find_unreadable_images(settings, data, range(len(records.ids)))
    readable = np.ones(len(records.ids), dtype=np.bool_)
    readable[list(bad)] = False
    usable = np.flatnonzero(readable & records.may_start & train)
    check_sizes(settings, len(usable), int(readable[train].sum()))
    for split in ("val", "test"):
        rows = records.select_rows(split)
        # A split may be empty on purpose.
        if len(rows) and not readable[rows].any():
            raise DataError(
                f"every image of the {split} split is unreadable; fix them or choose another dataset.root"
            )
    rng = make_rng(Stream.START, settings.seed)
    chosen = usable[rng.permutation(len(usable))[: settings.initial]]
    skipped = {records.ids[row]: problem for row, problem in bad.items()}
    return RunState(dict(result_settings), tuple(records.ids.take(chosen)), skipped)


def create_live_state(result_settings: Mapping[str, Any], known: KnownLabels, ids: Ids) -> RunState:
    """The state of a run whose labels people give: it begins with what is labelled by then."""
    return RunState(dict(result_settings), tuple(ids.take(known.labelled)), {})


def find_unreadable_images(settings: Settings, data: RunData, rows: Sequence[int]) -> dict[int, str]:
    """Those of some rows that have an image which cannot be read, with the reason; each rank reads its share.

    Raises:
        DataError: there is one, and pool.on_bad_image=stop.
    """
    bad: dict[int, str] = {}
    for part in collectives.all_gather_objects(data.find_bad_images(collectives.shard(rows))):
        bad |= part
    if bad and settings.on_bad_image == "stop":
        more = f" (and {len(bad) - 1} more like it)" if len(bad) > 1 else ""
        raise DataError(
            f"{bad[min(bad)]}{more}; fix or remove it, or set pool.on_bad_image=skip to continue without it"
        )
    for row in sorted(bad):
        log.warning("skipped %s: %s", data.dataset.records.ids[row], bad[row])
    return {row: bad[row] for row in sorted(bad)}


def check_state_visible(run_dir: Path, sha256: str) -> None:
    """Raise RankError on every rank unless each sees the state that rank 0 wrote."""
    path = run_dir / "state.json"
    seen = _wait_for_text(path, f'"{sha256}"')
    blind = []
    for name, sees in collectives.all_gather_objects((collectives.get_process_name(), seen)):
        if not sees:
            blind.append(name)
    if blind:
        raise RankError(
            f"{', '.join(blind)} cannot see {path}, which rank 0 wrote; choose a paths.runs=… on storage that all "
            "machines of this job share"
        )


def _wait_for_text(path: Path, text: str) -> bool:
    """Whether a file has this text before the time is up."""
    deadline = time.monotonic() + VISIBILITY_TIMEOUT
    while True:
        if path.exists() and text in path.read_text(encoding="utf-8"):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def check_validation(
    settings: Settings, result_settings: Mapping[str, Any], task: Task, rows: NDArray[np.int64]
) -> None:
    """Raise ConfigError if the validation on `rows` is to decide something by a quantity that it cannot measure."""
    keeps_best = settings.weights == "best"
    best_by_loss = result_settings.get("training.best_by") == "loss"
    # What follows the validation → what to set instead.
    followers = {}
    if str(result_settings.get("scheduler._target_")).endswith(".plateau"):
        followers["scheduler=plateau"] = "another scheduler such as scheduler=none"
    if not len(rows):
        if keeps_best:
            followers = {"training.weights=best": "training.weights=last", **followers}
        if followers:
            absent = "there are no validation images; add some"
            if result_settings.get("dataset.val") == 0:
                absent = "there are no validation images (dataset.val=0); raise that"
            raise ConfigError(
                f"{_name_needy(followers)} a validation, but {absent}, or set {' and '.join(followers.values())}"
            )
        return

    if keeps_best and not best_by_loss and not task.count_measurable(rows):
        other = f"another metric such as {task.metric_setting}, " if task.metric_setting else ""
        raise ConfigError(
            f"training.weights=best needs val {task.describe_metric(rows)}, which is undefined: "
            f"{task.explain_undefined(rows)}; set training.best_by=loss, {other}or training.weights=last"
        )
    if keeps_best and best_by_loss:
        followers = {"training.best_by=loss": "training.weights=last", **followers}
    if followers and not task.dataset.records.labels.is_labelled[rows].any():
        raise ConfigError(
            f"{_name_needy(followers)} val/{task.loss_name}, which is undefined: none of the {len(rows)} validation "
            f"{task.record_word} has a label; label some of them, or set {' and '.join(followers.values())}"
        )


def _name_needy(followers: Collection[str]) -> str:
    """Return `a needs`, or `a and b need`."""
    verb = "needs" if len(followers) == 1 else "need"
    return f"{' and '.join(followers)} {verb}"


def check_sizes(settings: Settings, usable: int, train: int) -> None:
    """Raise ConfigError unless the rounds fit the training set: `usable` ids for the start, `train` in all."""
    if settings.initial > usable:
        raise ConfigError(
            f"initial={settings.initial} exceeds the {usable} training ids that may be labelled before round 0; "
            "lower initial"
        )
    if settings.rounds is None:
        raise ConfigError(
            "rounds=null needs an oracle that asks people, as in oracle=label_studio; set a number of rounds"
        )
    left, selections = train - settings.initial, settings.rounds - 1
    for done in range(selections):
        if settings.budget > left - done * settings.budget:
            raise ConfigError(
                f"budget={settings.budget} exceeds the unlabelled pool ({left - done * settings.budget} left after "
                f"round {done}, {train} training ids in all); lower budget or rounds"
            )
