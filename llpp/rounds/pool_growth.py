"""What has become of a run's data between two starts, and pools that grow.

`records.parquet` lists the records a run knows: id, split, a 64-bit digest of its labels and box, and
`since`: 0 for those that it began with, n for those that came with the n-th growth of its pool. It is written before
`state.json`, which decides: what came with a growth that the state does not know of is not the run's yet.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llpp.datasets.base import SPLITS, AnyDataset, Records
from llpp.errors import OccupiedError
from llpp.files import replace_file
from llpp.ids import CHUNK_SIZE, TEXT, Ids, Rows
from llpp.rounds.run import RunData
from llpp.run_dir.checked_tables import read_table, write_table
from llpp.run_dir.state import Growth, RunState, check_same_settings, find_changed_settings
from llpp.tasks.base import Task

log = logging.getLogger(__name__)
SCHEMA = pa.schema([("id", TEXT), ("split", pa.uint8()), ("digest", pa.uint64()), ("since", pa.int32())])
# Another dataset is no grown one, and other pairs give the same images other labels.
FIXED_SETTINGS = ("dataset._target_", "dataset.name", "dataset.flip_pairs")
# Of a dataset or a part of one; other values give all images other pixels.
PIXEL_SETTINGS = ("white", "background", "orientation")
# Constants of a 64-bit mixing function.
SEED = np.uint64(0x9E3779B97F4A7C15)
FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SHIFT = np.uint64(29)


@dataclass(frozen=True, eq=False)
class RecordTable:
    """N records in the order of a dataset."""

    ids: Ids
    split: NDArray[np.uint8]  # (N,) position in SPLITS
    digest: NDArray[np.uint64]  # (N,)
    since: NDArray[np.int32]  # (N,) number of the growth that they came with; 0: there from the start

    @classmethod
    def from_records(cls, records: Records[Any], task: Task) -> "RecordTable":
        """A dataset's records; another label, box or normaliser gives a record another digest."""
        split = np.zeros(len(records.ids), dtype=np.uint8)
        for position, name in enumerate(SPLITS):
            split[records.split == name] = position
        columns = [*task.label_arrays, records.boxes]
        if task.normaliser is not None:
            columns.append(task.normaliser)
        digest = hash_rows(*columns, records.may_start)
        since = np.zeros(len(split), dtype=np.int32)
        return cls(records.ids, split, digest, since)


@dataclass(frozen=True, eq=False)
class Difference:
    """Between the records of two starts."""

    before: int  # number of records
    vanished: Ids
    changed: Ids  # another annotation, or another split
    added: tuple[Ids, ...]  # by split
    rows: Rows  # of all that were added, in the dataset as it is now

    @property
    def is_growth(self) -> bool:
        """Whether there is more in the pool, and all else is as it was."""
        train, *others = (len(ids) for ids in self.added)
        return train > 0 and not (any(others) or len(self.vanished) or len(self.changed))

    def describe(self) -> list[str]:
        """What differs, in words."""
        parts = []
        for ids, words in ((self.vanished, "ids vanished"), (self.changed, "records changed")):
            if len(ids):
                parts.append(f"{len(ids):,} of {self.before:,} {words} ({ids[0]!r} among them)")
        for split, ids in zip(SPLITS, self.added, strict=True):
            if len(ids):
                parts.append(f"{len(ids):,} ids were added to {split} ({ids[0]!r} among them)")
        return parts or ["the same records stand in another order"]


def hash_rows(*columns: NDArray[Any]) -> NDArray[np.uint64]:
    """(N,) 64 bits of each row of some arrays (N, …), which show any change, but can be forged."""
    digests = np.full(len(columns[0]), SEED)
    for start in range(0, len(digests), CHUNK_SIZE):
        chunk = slice(start, start + CHUNK_SIZE)
        digest = digests[chunk]
        count = len(digest)
        parts = [np.ascontiguousarray(column[chunk]).view(np.uint8).reshape(count, -1) for column in columns]
        raw = np.concatenate(parts, axis=1)
        words = np.zeros((count, -(-raw.shape[1] // 8)), dtype=np.uint64)
        words.view(np.uint8)[:, : raw.shape[1]] = raw
        for word in words.T:
            digest ^= word
            digest *= FACTOR
            digest ^= digest >> SHIFT
    return digests


def compare_records(old: RecordTable, new: RecordTable) -> Difference:
    """Find what has become of the `old` records."""
    positions = _locate_rows(old.ids, new.ids)
    remains = positions >= 0
    remaining = positions[remains]
    same_split = old.split[remains] == new.split[remaining]
    same_digest = old.digest[remains] == new.digest[remaining]
    changed_rows = np.flatnonzero(remains)[~(same_split & same_digest)]
    is_new = np.ones(len(new.ids), dtype=np.bool_)
    is_new[remaining] = False
    added = []
    for split in range(len(SPLITS)):
        added.append(new.ids.take(np.flatnonzero(is_new & (new.split == split))))
    return Difference(
        before=len(old.ids),
        vanished=old.ids.take(np.flatnonzero(~remains)),
        changed=old.ids.take(changed_rows),
        added=tuple(added),
        rows=np.flatnonzero(is_new),
    )


def _locate_rows(old: Ids, new: Ids) -> Rows:
    """(N,) the row that each of the `old` ids has by now, -1 if none; few have to be searched for."""
    common = min(len(old), len(new))
    equal = pc.equal(old.array[:common], new.array[:common]).to_numpy(zero_copy_only=False)
    moved = np.flatnonzero(~equal)
    first = int(moved[0]) if len(moved) else common
    positions = new[first:].find_rows(old[first:])
    positions[positions >= 0] += first
    return np.concatenate([np.arange(first), positions])


def find_added_rows(
    run_dir: Path, state: RunState, result_settings: Mapping[str, Any], data: RunData, grow: bool
) -> Rows | None:
    """Rows of the dataset by which the pool of a run has grown since its last start; None if nothing has changed.

    Settings of the dataset may differ where they do nothing but add to the pool.

    Raises:
        OccupiedError: anything else differs, or the pool must not grow; it says what.
    """
    changed = find_changed_settings(state, result_settings)
    only_data = all(_may_change_with_growth(name) for name in changed)
    known = None
    if "dataset.digest" in changed and only_data:
        known = read_records(run_dir / "records.parquet", len(state.grown))
    if known is None:
        check_same_settings(state, result_settings, run_dir)
        return None
    difference = compare_records(known, RecordTable.from_records(data.dataset.records, data.task))
    if difference.is_growth and grow:
        return difference.rows
    settings = []
    for name, (old, new) in changed.items():
        if name != "dataset.digest":
            settings.append(f"{name}: {old!r} → {new!r}")
    remedy = "start with pool.grow=true to let the pool grow"
    if not difference.is_growth:
        remedy = "a run resumes only with what it began with and more training records: put the others back"
    facts = "; ".join([*settings[:5], *difference.describe()])
    raise OccupiedError(f"{run_dir} was started with other data ({facts}); {remedy}, or choose another name=…")


def _may_change_with_growth(name: str) -> bool:
    """Whether a setting may be another one when a pool has grown."""
    _, _, last = name.rpartition(".")
    return name.startswith("dataset.") and name not in FIXED_SETTINGS and last not in PIXEL_SETTINGS


def grow_pool(
    state: RunState, result_settings: Mapping[str, Any], dataset: AnyDataset, rows: Rows, bad: Mapping[int, str]
) -> RunState:
    """The state whose unlabelled pool has these rows, too, without the `bad` ones, whose images cannot be read."""
    ids = dataset.records.ids
    skipped = dict(state.skipped)
    for row, problem in bad.items():
        skipped[ids[row]] = problem
    number = len(state.rounds)
    if state.rounds and not state.rounds[-1].selected:
        # If the run is ever extended, its last round selects after all.
        number -= 1
    before = {name: value for name, value in state.result_settings.items() if name.startswith("dataset.")}
    growth = Growth(number, len(rows) - len(bad), before)
    log.info("the pool has grown by %d images before round %d", growth.added, number)
    return replace(state, result_settings=dict(result_settings), skipped=skipped, grown=(*state.grown, growth))


def write_records(run_dir: Path, state: RunState, data: RunData, changed: bool) -> None:
    """Write the records down, before the state that knows of them, if they are not there or have changed."""
    path = run_dir / "records.parquet"
    if path.exists() and not changed:
        return
    table = RecordTable.from_records(data.dataset.records, data.task)
    known = read_records(path, len(state.grown) - 1) if state.grown else None
    if known is not None:
        table.since[:] = len(state.grown)
        table.since[_locate_rows(known.ids, table.ids)] = known.since
    columns = [table.ids.array, pa.array(table.split), pa.array(table.digest), pa.array(table.since)]
    content = pa.table(columns, schema=SCHEMA)
    replace_file(path, lambda part: write_table(part, content))


def read_records(path: Path, growths: int) -> RecordTable | None:
    """The records of a run whose pool has grown so many times; None if the file is missing or damaged."""
    table = read_table(path, SCHEMA)
    if table is None:
        return None
    if (pc.max(table["since"]).as_py() or 0) > growths:
        table = table.filter(pc.less_equal(table["since"], growths))
    split, digest, since = (table[name].to_numpy() for name in ("split", "digest", "since"))
    return RecordTable(Ids(table["id"]), split, digest, since)
