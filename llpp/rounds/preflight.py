"""Before round 0: are the images readable, do the sizes fit, and which ids are labelled at the start?"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llpp.datasets.base import PoseDataset
from llpp.distributed import collectives
from llpp.errors import ConfigError, DataError, RankError
from llpp.run_dir.state import RunState
from llpp.seeds import Stream, make_rng
from llpp.settings import Settings

log = logging.getLogger(__name__)
BadImages = Callable[[Sequence[int]], dict[int, str]]  # rows → those that cannot be read, and why
VISIBILITY_TIMEOUT = 20.0  # seconds that a shared file system may take to show a new file


def create_initial_state(
    settings: Settings, science: Mapping[str, Any], dataset: PoseDataset, bad_images: BadImages | None = None
) -> RunState:
    """Check every image, each rank its share, and draw the ids that are labelled before round 0.

    `bad_images` does that otherwise than by reading them.
    """
    table = dataset.records
    check_sizes(settings, int((table.initial & (table.split == "train")).sum()), len(table.select_rows("train")))
    bad = find_unreadable_images(settings, dataset, range(len(table.ids)), bad_images)
    good = np.ones(len(table.ids), dtype=np.bool_)
    good[list(bad)] = False
    usable = np.flatnonzero(good & table.initial & (table.split == "train"))
    check_sizes(settings, len(usable), int(good[table.select_rows("train")].sum()))
    if empty := [s for s in ("val", "test") if not good[table.select_rows(s)].any()]:
        raise DataError(
            f"every image of the {empty[0]} split is unreadable; mend them or choose another dataset.root"
        )
    rng = make_rng(Stream.START, settings.seed)
    chosen = usable[rng.permutation(len(usable))[: settings.initial]]
    skipped = {table.ids[row]: problem for row, problem in bad.items()}
    return RunState(dict(science), tuple(table.ids.take(chosen)), skipped)


def find_unreadable_images(
    settings: Settings, dataset: PoseDataset, rows: Sequence[int], bad_images: BadImages | None = None
) -> dict[int, str]:
    """Those of some rows that have an image which cannot be read, with the reason; each rank reads its share.

    Raises:
        DataError: there is one, and on_bad_image=stop.
    """
    found = collectives.all_gather_objects((bad_images or dataset.find_bad_images)(collectives.shard(rows)))
    bad = {row: problem for part in found for row, problem in part.items()}
    if bad and settings.on_bad_image == "stop":
        more = f" (and {len(bad) - 1} more like it)" if len(bad) > 1 else ""
        raise DataError(f"{bad[min(bad)]}{more}; mend or remove it, or set on_bad_image=skip to go on without it")
    for row in sorted(bad):
        log.warning("skipped %s: %s", dataset.records.ids[row], bad[row])
    return {row: bad[row] for row in sorted(bad)}


def check_state_visible(run_dir: Path, sha256: str) -> None:
    """Raise RankError on every rank unless each sees the state that the first one wrote."""
    deadline = time.monotonic() + VISIBILITY_TIMEOUT
    path = run_dir / "state.json"
    while not (seen := path.exists() and f'"{sha256}"' in path.read_text(encoding="utf-8")):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    if blind := [
        name for name, sees in collectives.all_gather_objects((collectives.get_process_name(), seen)) if not sees
    ]:
        raise RankError(
            f"{', '.join(blind)} cannot see {path}, which rank 0 wrote; choose a runs=… on storage that all machines "
            "of this job share"
        )


def check_sizes(settings: Settings, usable: int, train: int) -> None:
    """Raise ConfigError unless the rounds fit the training set: `usable` ids for the start, `train` in all."""
    if settings.initial > usable:
        raise ConfigError(
            f"initial={settings.initial} exceeds the {usable} training ids that may be labelled before round 0; "
            "lower initial"
        )
    left, selections = train - settings.initial, settings.rounds - 1
    for done in range(selections):
        if settings.budget > left - done * settings.budget:
            raise ConfigError(
                f"budget={settings.budget} exceeds the unlabelled pool ({left - done * settings.budget} left after "
                f"round {done}, {train} training ids in all); lower budget or rounds"
            )


def check_labels(dataset: PoseDataset, skipped: Iterable[str]) -> None:
    """Raise ConfigError if there are training records that a simulated oracle cannot label."""
    table = dataset.records
    rows = table.select_rows("train", skipped)
    without = rows[~table.visible[rows].any(axis=1)]
    if len(without):
        raise ConfigError(
            f"{len(without)} of {len(rows)} training records have no labelled joint, {table.ids[without[0]]!r} among "
            "them; a simulated run, acquisition=true_loss above all, needs labels for the whole pool: leave them out"
        )
