"""What has become of a run's data between two starts, and pools that grow.

`records.parquet` lists the records a run knows: id, split, a 64-bit digest of what is known about the person, and
`since`: 0 for those that it began with, n for those that came with the n-th growth of its pool. It is written before
`state.json`, which decides: what came with a growth that the state does not know of is not the run's yet.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llpp.datasets.base import SPLITS, Records
from llpp.errors import OccupiedError
from llpp.files import replace_file
from llpp.ids import CHUNK_SIZE, TEXT, Ids, Rows
from llpp.rounds.experiment import Experiment
from llpp.rounds.preflight import find_unreadable_images
from llpp.run_dir.state import Growth, RunState, check_same_settings, find_changed_settings

log = logging.getLogger(__name__)
SCHEMA = pa.schema([("id", TEXT), ("split", pa.uint8()), ("digest", pa.uint64()), ("since", pa.int32())])
FIXED_SETTINGS = ("dataset._target_", "dataset.name")  # another dataset is no grown one
SEED, FACTOR, SHIFT = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 29))


@dataclass(frozen=True, eq=False)
class RecordTable:
    """N records in the order of a dataset."""

    ids: Ids
    split: NDArray[np.uint8]  # (N,) place in SPLITS
    digest: NDArray[np.uint64]  # (N,)
    since: NDArray[np.int32]  # (N,) growths before they came

    @classmethod
    def from_records(cls, table: Records, sizes: NDArray[np.float32]) -> "RecordTable":
        """A dataset's records; `sizes` (N,) is what PCK divides by."""
        split = np.zeros(len(table.ids), dtype=np.uint8)
        for place, name in enumerate(SPLITS):
            split[table.split == name] = place
        found = hash_rows(table.joints, table.visible, table.boxes, sizes, table.initial)
        return cls(table.ids, split, found, np.zeros(len(split), dtype=np.int32))


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


def hash_rows(*columns: NDArray[np.generic]) -> NDArray[np.uint64]:
    """(N,) 64 bits of each row of some arrays (N, …), which tell changes apart but keep out no forger."""
    found = np.full(len(columns[0]), SEED)
    for start in range(0, len(found), CHUNK_SIZE):
        part = slice(start, start + CHUNK_SIZE)
        some, count = found[part], len(found[part])
        raw = np.concatenate(
            [np.ascontiguousarray(c[part]).view(np.uint8).reshape(count, -1) for c in columns], axis=1
        )
        words = np.zeros((count, -(-raw.shape[1] // 8)), dtype=np.uint64)
        words.view(np.uint8)[:, : raw.shape[1]] = raw
        for word in words.T:
            some ^= word
            some *= FACTOR
            some ^= some >> SHIFT
    return found


def compare_records(old: RecordTable, new: RecordTable) -> Difference:
    """What has become of the `old` records."""
    place = _locate_rows(old.ids, new.ids)
    there = place >= 0
    kept = place[there]
    same = (old.split[there] == new.split[kept]) & (old.digest[there] == new.digest[kept])
    came = np.ones(len(new.ids), dtype=np.bool_)
    came[kept] = False
    added = tuple(new.ids.take(np.flatnonzero(came & (new.split == place))) for place in range(len(SPLITS)))
    vanished, changed = old.ids.take(np.flatnonzero(~there)), old.ids.take(np.flatnonzero(there)[~same])
    return Difference(len(old.ids), vanished, changed, added, np.flatnonzero(came))


def _locate_rows(old: Ids, new: Ids) -> Rows:
    """(N,) the row that each of the `old` ids has by now, -1 if none; few have to be searched for."""
    most = min(len(old), len(new))
    moved = np.flatnonzero(~pc.equal(old.array[:most], new.array[:most]).to_numpy(zero_copy_only=False))
    first = int(moved[0]) if len(moved) else most
    found = new[first:].find_rows(old[first:])
    found[found >= 0] += first
    return np.concatenate([np.arange(first), found])


def find_added_rows(experiment: Experiment, state: RunState) -> Rows | None:
    """Rows of the dataset by which the pool of a run has grown since its last start; None if nothing has changed.

    Settings of the dataset may differ where they do nothing but add to the pool.

    Raises:
        OccupiedError: anything else differs, or the pool must not grow; it says what.
    """
    run_dir, changed = experiment.run_dir, find_changed_settings(state, experiment.science)
    about_data = "dataset.digest" in changed and all(
        k.startswith("dataset.") and k not in FIXED_SETTINGS for k in changed
    )
    known = read_records(run_dir / "records.parquet", len(state.grown)) if about_data else None
    if known is None:
        check_same_settings(state, experiment.science, run_dir)
        return None
    found = compare_records(known, RecordTable.from_records(experiment.dataset.records, experiment.sizes))
    if found.is_growth and experiment.grow:
        return found.rows
    settings = [f"{k}: {old!r} → {new!r}" for k, (old, new) in changed.items() if k != "dataset.digest"]
    remedy = "start with dataset.grow=true to let the pool grow"
    if not found.is_growth:
        remedy = "a run goes on only with what it began with and more training records: put the others back"
    told = "; ".join([*settings[:5], *found.describe()])
    raise OccupiedError(f"{run_dir} was started with other data ({told}); {remedy}, or choose another name=…")


def grow_pool(experiment: Experiment, state: RunState, rows: Rows) -> RunState:
    """The state whose unlabelled pool has these rows, too. All ranks call it: each reads its share of the images."""
    bad = find_unreadable_images(experiment.settings, experiment.dataset, rows.tolist(), experiment.bad_images)
    ids = experiment.dataset.records.ids
    skipped = {**state.skipped, **{ids[row]: problem for row, problem in bad.items()}}
    number = len(state.rounds)
    if state.rounds and not state.rounds[-1].selected:
        number -= 1  # if the run is ever extended, this round selects after all
    before = {k: v for k, v in state.science.items() if k.startswith("dataset.")}
    growth = Growth(number, len(rows) - len(bad), before)
    log.info("the pool has grown by %d images before round %d", growth.added, number)
    return replace(state, science=dict(experiment.science), skipped=skipped, grown=(*state.grown, growth))


def write_records(experiment: Experiment, state: RunState, anew: bool) -> None:
    """Write the dataset's records down, before the state that knows of them; with `anew` even if they are there."""
    path = experiment.run_dir / "records.parquet"
    if path.exists() and not anew:
        return
    now = RecordTable.from_records(experiment.dataset.records, experiment.sizes)
    known = read_records(path, len(state.grown) - 1) if state.grown else None
    if known is not None:
        now.since[:] = len(state.grown)
        now.since[_locate_rows(known.ids, now.ids)] = known.since
    columns = [now.ids.array, *(pa.array(column) for column in (now.split, now.digest, now.since))]
    table = pa.table(columns, schema=SCHEMA)
    options = {"compression": "snappy", "use_dictionary": False, "write_page_checksum": True}
    replace_file(path, lambda part: pq.write_table(table, part, **options))


def read_records(path: Path, growths: int) -> RecordTable | None:
    """The records of a run whose pool has grown so many times; None if the file is missing or damaged."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
            codecs = {group.column(n).compression for group in groups for n in range(group.num_columns)}
            if not file.schema_arrow.equals(SCHEMA) or codecs - {"SNAPPY"}:  # others make gigabytes of kilobytes
                return None
            table = file.read()
    except (OSError, pa.ArrowException):
        return None
    if (pc.max(table["since"]).as_py() or 0) > growths:
        table = table.filter(pc.less_equal(table["since"], growths))
    split, digest, since = (table[name].to_numpy() for name in ("split", "digest", "since"))
    return RecordTable(Ids(table["id"]), split, digest, since)
