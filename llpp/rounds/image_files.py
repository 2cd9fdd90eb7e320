"""Whether a run's images are at every start what they were at its first.

`images.parquet` lists them: name, size, date of change, and 64 bits of a digest of the content. At a later start only
sizes and dates are looked up; an image is read again if its date is another one, as after copying. With a crop cache,
whose crops are kept for the date and size that an image had, contents are not read at all, and a warning counts such
images.
"""

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llpp.datasets.base import AnyDataset
from llpp.datasets.images import MAX_BYTES
from llpp.distributed import collectives
from llpp.errors import OccupiedError
from llpp.files import read_bytes, replace_file
from llpp.hashing import hash_json
from llpp.ids import TEXT, Ids, Rows
from llpp.rounds.run import RunData
from llpp.run_dir.checked_tables import read_table, write_table
from llpp.run_dir.state import RunState

log = logging.getLogger(__name__)
FILE = "images.parquet"
SCHEMA = pa.schema([("image", TEXT), ("bytes", pa.int64()), ("changed_ns", pa.int64()), ("digest", pa.uint64())])
MISSING = -1  # in place of the bytes of an image that cannot be read
UNREAD = 0  # in place of a digest
CHUNK = 256  # images that a thread describes at once


@dataclass(frozen=True, eq=False)
class ImageTable:
    """What N images were like."""

    names: Ids
    size: NDArray[np.int64]  # (N,) bytes; MISSING
    changed_ns: NDArray[np.int64]  # (N,) date of the last change, nanoseconds; 0 for images that are no files
    digest: NDArray[np.uint64]  # (N,) of the content; UNREAD

    @classmethod
    def make_empty(cls, names: Ids) -> "ImageTable":
        """A table of images of which nothing is known: they are missing."""
        size = np.full(len(names), MISSING, dtype=np.int64)
        return cls(names, size, np.zeros_like(size), np.full(len(names), UNREAD, dtype=np.uint64))

    def take(self, rows: Rows) -> "ImageTable":
        """Return some of the images."""
        return ImageTable(self.names.take(rows), self.size[rows], self.changed_ns[rows], self.digest[rows])

    def look_up(self, names: Ids) -> "ImageTable":
        """Return what is known of some images; those that are not in this table are missing."""
        found = ImageTable.make_empty(names)
        positions = self.names.find_rows(names)
        is_known = positions >= 0
        for column in ("size", "changed_ns", "digest"):
            getattr(found, column)[is_known] = getattr(self, column)[positions[is_known]]
        return found


def check_images(run_dir: Path, state: RunState, data: RunData, begins: bool, is_finished: bool) -> ImageTable | None:
    """Compare the images of a run with what it has recorded, and describe those that are new; all ranks call it.

    Args:
        run_dir: of the run.
        state: with the ids that are skipped, whose images may be anything.
        data: of the run.
        begins: the run has recorded nothing yet; what its folder holds is from another one.
        is_finished: no round is left to do; then nothing is read for a run of an older version, which recorded none.

    Returns:
        What is to be recorded; None if that is recorded already.

    Raises:
        OccupiedError: an image has changed or is missing since it was recorded.
    """
    names, rows = _list_images(data.dataset, state)
    if not len(names):
        return None
    recorded = None if begins else collectives.on_rank_zero(lambda: read_images(run_dir))
    if recorded is None and is_finished:
        return None
    known = ImageTable.make_empty(names) if recorded is None else recorded.look_up(names)
    now = _describe_all(data, rows, known)
    was_there = known.size != MISSING
    is_there = now.size != MISSING
    has_other_content = (known.digest != now.digest) & (known.digest != UNREAD) & (now.digest != UNREAD)
    has_changed = is_there & ((known.size != now.size) | has_other_content)
    _refuse_changes(run_dir, names, was_there & has_changed, was_there & ~is_there)
    if data.crops is not None:
        has_other_date = was_there & is_there & (known.changed_ns != now.changed_ns)
        _warn_of_unread(run_dir, names, has_other_date)
    is_recorded = (known.size == now.size) & (known.changed_ns == now.changed_ns)
    if is_recorded.all():
        return None
    # An image that has never been there is a problem of the round that wants it.
    return now.take(np.flatnonzero(is_there))


def _list_images(dataset: AnyDataset, state: RunState) -> tuple[Ids, Rows]:
    """Return the images of all records but the skipped ones, each once, with a row of each.

    There are none where the program draws them, as the figures.
    """
    if not dataset.paths and not dataset.pixel_digest:
        return Ids([]), np.zeros(0, dtype=np.int64)
    records = dataset.records
    is_used = np.ones(len(records.ids), dtype=np.bool_)
    is_used[records.ids.find_rows(state.skipped)] = False
    rows = np.flatnonzero(is_used)
    codes = records.images.take(rows).assign_codes()
    _, first = np.unique(codes, return_index=True)
    rows = rows[first]
    return records.images.take(rows), rows


def _describe_all(data: RunData, rows: Rows, known: ImageTable) -> ImageTable:
    """Describe the images of some rows (N,), of which this much is known; each rank describes its share."""
    now = ImageTable.make_empty(known.names)
    share = collectives.shard(range(len(rows)))

    def describe_chunk(start: int) -> list[tuple[int, int, int, int]]:
        return [(n, *_describe_image(data, int(rows[n]), known, n)) for n in share[start : start + CHUNK]]

    described: list[tuple[int, int, int, int]] = []
    with ThreadPoolExecutor() as pool:
        for chunk in pool.map(describe_chunk, range(0, len(share), CHUNK)):
            described += chunk
    for part in collectives.all_gather_objects(described):
        for n, size, changed_ns, digest in part:
            now.size[n] = size
            now.changed_ns[n] = changed_ns
            now.digest[n] = digest
    return now


def _describe_image(data: RunData, row: int, known: ImageTable, place: int) -> tuple[int, int, int]:
    """Return size, date and digest of an image; its content is read unless it is known for this size and date."""
    dataset = data.dataset
    if not dataset.paths:
        pixels = np.ascontiguousarray(dataset.load(row))
        return pixels.nbytes, 0, _hash_content(pixels.tobytes())
    path = dataset.paths[row]
    try:
        status = path.stat()
        before = (int(known.size[place]), int(known.changed_ns[place]))
        if before == (status.st_size, status.st_mtime_ns):
            return *before, int(known.digest[place])
        has_new_size = known.size[place] not in (MISSING, status.st_size)
        digest = UNREAD
        if data.crops is None and not has_new_size:
            digest = _hash_content(read_bytes(path, MAX_BYTES))
    except OSError:
        return MISSING, 0, UNREAD
    return status.st_size, status.st_mtime_ns, digest


def _hash_content(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def _refuse_changes(run_dir: Path, names: Ids, changed: NDArray[np.bool_], missing: NDArray[np.bool_]) -> None:
    """Raise OccupiedError if one of the images (N,) has changed or is missing."""
    facts = []
    for mask, words in ((changed, "have changed"), (missing, "are missing")):
        rows = np.flatnonzero(mask)
        if len(rows):
            facts.append(f"{len(rows):,} of {len(names):,} {words} ({names[int(rows[0])]!r} among them)")
    if facts:
        raise OccupiedError(
            f"{run_dir} was started with other images: {'; '.join(facts)}; put back those that it began with, or "
            "choose another name=…"
        )


def _warn_of_unread(run_dir: Path, names: Ids, has_other_date: NDArray[np.bool_]) -> None:
    """Say how many images (N,) may have other pixels than before, because only their size was compared."""
    rows = np.flatnonzero(has_other_date)
    if len(rows) and collectives.get_rank() == 0:
        log.warning(
            "%s: %s of %s images have another date than before (%r among them); with crop.cache=true their size was "
            "compared, not their content: make sure that they are the same pictures",
            run_dir,
            f"{len(rows):,}",
            f"{len(names):,}",
            names[int(rows[0])],
        )


def write_images(run_dir: Path, images: ImageTable) -> None:
    """Write the images down; after the state, so that no image is recorded that is not the run's."""
    columns = [images.names.array, pa.array(images.size), pa.array(images.changed_ns), pa.array(images.digest)]
    content = pa.table(columns, schema=SCHEMA)
    replace_file(run_dir / FILE, lambda part: write_table(part, content))


def read_images(run_dir: Path) -> ImageTable | None:
    """The images of a run; None if it has recorded none, or the file is damaged."""
    table = read_table(run_dir / FILE, SCHEMA)
    if table is None:
        return None
    size, changed_ns, digest = (table[name].to_numpy() for name in ("bytes", "changed_ns", "digest"))
    return ImageTable(Ids(table["image"]), size, changed_ns, digest)


def hash_images(run_dir: Path, data: RunData, rows: Sequence[int]) -> str:
    """Digest of the images of some rows by name, size and, where it is known, content."""
    recorded = read_images(run_dir)
    if recorded is None:
        return data.hash_files(rows)
    names = data.dataset.records.images.take(np.array(rows, dtype=np.int64))
    return hash_json([data.hash_files(rows), recorded.look_up(names).digest.tolist()])
