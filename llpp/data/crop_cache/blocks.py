"""The files of one crop cache, and the checks that find them intact.

`crops.u8` (N, side, side, 3) and `shapes.i32` (N, 2) are written in blocks of rows. `blocks.sha256` has 32 bytes per
block: its digest, or zeros while it is not written. A block counts only if its digest matches, so nothing needs
flushing in any order: what a crash or a bad disk damaged is cut again. `rows.id` has 16 bytes per row, from
`cache_key`.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from llpp.files import lock_file, read_text, replace_file, replace_text

ROWS_PER_BLOCK = 64  # crops of a block
DIGEST_SIZE = 32  # bytes
MAX_BYTES = 1 << 26  # of a JSON file
POLL_INTERVAL = 0.5  # seconds between attempts to get another process's lock
Arrays = tuple[NDArray[np.uint8], NDArray[np.int32]]  # crops, shapes


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def format_bytes(number: int) -> str:
    """Format a number of bytes for people: `1.5 GiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 2**10:,.1f} KiB"


@dataclass(frozen=True)
class Store:
    """The files of a cache with `count` crops of `side` × `side` pixels in the folder `home`."""

    home: Path
    count: int
    side: int

    @property
    def crop_bytes(self) -> int:
        """Bytes of all crops together."""
        return self.count * self.side * self.side * 3

    @property
    def block_count(self) -> int:
        """Number of blocks; the last one may be short."""
        return -(-self.count // ROWS_PER_BLOCK)

    def get_block_rows(self, block: int) -> slice:
        """Return the rows of a block."""
        start = block * ROWS_PER_BLOCK
        return slice(start, min(self.count, start + ROWS_PER_BLOCK))

    def expand_to_rows(self, blocks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (N,): for each row, the value of its block in `blocks` (blocks,)."""
        return np.repeat(blocks, ROWS_PER_BLOCK)[: self.count]

    def _compute_file_sizes(self) -> dict[str, int]:
        return {
            "crops.u8": self.crop_bytes,
            "shapes.i32": self.count * 8,
            "blocks.sha256": self.block_count * DIGEST_SIZE,
            "rows.id": self.count * 16,
        }

    def matches(self, description: Mapping[str, Any]) -> bool:
        """Return whether the folder holds the described cache, complete or not; whichever dataset came first."""
        found = read_description(self.home)
        if found is None or _leave_out_dataset(found) != _leave_out_dataset(description):
            return False
        expected = self._compute_file_sizes()
        try:
            sizes = {name: (self.home / name).stat().st_size for name in expected}
        except OSError:
            return False
        return sizes == expected

    def create(self, description: Mapping[str, Any], rows: NDArray[np.uint8]) -> None:
        """Create the files of an empty cache whose rows have the ids `rows` (N, 16)."""
        sizes = self._compute_file_sizes()
        for name in ("cache.json", "bad.json", *sizes):
            (self.home / name).unlink(missing_ok=True)
        for name, size in sizes.items():
            with (self.home / name).open("xb") as file:
                file.truncate(size)
        replace_file(self.home / "rows.id", lambda part: rows.tofile(part))
        # The description comes last: only a folder that has one counts as a cache.
        replace_text(self.home / "cache.json", json.dumps(dict(description), indent=1))

    def open_arrays(self) -> Arrays:
        """Open the crops (N, side, side, 3) on disk and read the (height, width) of their images (N, 2)."""
        crops = np.memmap(self.home / "crops.u8", np.uint8, "r", shape=(self.count, self.side, self.side, 3))
        # A plain array over the same pages: taking a row of a memmap costs more.
        return np.asarray(crops), self._read_shapes()

    def _read_shapes(self) -> NDArray[np.int32]:
        """Read (N, 2); zeros for images that could not be read and for rows that are not cut yet."""
        return np.fromfile(self.home / "shapes.i32", np.int32).reshape(self.count, 2)

    def read_digests(self) -> NDArray[np.uint8]:
        """Read (blocks, 32); zeros for blocks that are not written."""
        return np.fromfile(self.home / "blocks.sha256", np.uint8).reshape(self.block_count, DIGEST_SIZE)

    def find_written_blocks(self) -> NDArray[np.bool_]:
        """Return (blocks,): which have been written, intact or not."""
        return np.asarray(self.read_digests().any(axis=1), dtype=np.bool_)

    def verify_blocks(self, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Return (blocks,): which have been written and match their digests; with `among`, check only those."""
        digests = self.read_digests()
        crops, shapes = self.open_arrays()
        intact = self.find_written_blocks()
        if among is not None:
            intact &= among

        def check_block(block: int) -> bool:
            rows = self.get_block_rows(block)
            return _compute_digest(crops[rows], shapes[rows]) == bytes(digests[block])

        candidates = np.flatnonzero(intact)
        with ThreadPoolExecutor(count_cores()) as pool:
            results = pool.map(check_block, candidates.tolist())
            intact[candidates] = list(results)
        return intact

    def write_block(self, block: int, crops: NDArray[np.uint8], shapes: NDArray[np.int32]) -> None:
        """Write the crops and shapes of one block, then its digest."""
        digest = np.frombuffer(_compute_digest(crops, shapes), np.uint8)
        start = block * ROWS_PER_BLOCK
        self._write_at("crops.u8", start * crops[0].nbytes, crops)
        self._write_at("shapes.i32", start * shapes[0].nbytes, shapes)
        self._write_at("blocks.sha256", block * DIGEST_SIZE, digest)

    def _write_at(self, name: str, position: int, values: NDArray[Any]) -> None:
        with (self.home / name).open("r+b") as file:
            file.seek(position)
            file.write(values.data)

    def clear_digests(self) -> None:
        """Make every block count as missing."""
        (self.home / "blocks.sha256").write_bytes(bytes(self.block_count * DIGEST_SIZE))

    def read_bad_rows(self) -> dict[int, str]:
        """Return the written rows whose image could not be read, with the reason."""
        reasons = self._read_reasons()
        unknown = "its image could not be read when the crop cache was built"
        # The shapes decide which rows are bad; bad.json only explains them, and may be missing or stale.
        bad = ~self._read_shapes().any(axis=1) & self.expand_to_rows(self.find_written_blocks())
        rows: list[int] = np.flatnonzero(bad).tolist()
        return {row: reasons.get(row, unknown) for row in rows}

    def _read_reasons(self) -> dict[int, str]:
        try:
            content = json.loads(read_text(self.home / "bad.json", MAX_BYTES))
            return {int(row): str(reason) for row, reason in content.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def write_bad_rows(self, bad: Mapping[int, str]) -> None:
        """Write the reasons of rows whose image could not be read."""
        reasons = {str(row): bad[row] for row in sorted(bad)}
        replace_text(self.home / "bad.json", json.dumps(reasons))

    @contextmanager
    def exclusive_lock(self, wait: Callable[[], None]) -> Iterator[None]:
        """Hold the folder's lock; call `wait` once if another process has it. A dead process's lock is free."""
        file = self._try_lock()
        if file is None:
            wait()
        while file is None:
            time.sleep(POLL_INTERVAL)
            file = self._try_lock()
        with file:
            yield

    def _try_lock(self) -> TextIO | None:
        """Return the locked file; None if another process has the lock, or has just removed the folder."""
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / "lock"
        file = path.open("a", encoding="utf-8")
        with suppress(BlockingIOError, FileNotFoundError):
            lock_file(file)
            # If the folder was removed between opening and locking, this is the lock of a deleted file and
            # excludes no one: a new file may be in its place.
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        file.close()
        return None

    def mark_in_use(self) -> TextIO | None:
        """Mark the cache as being read for as long as the returned file is open; None where that is impossible."""
        path = self.home / "in_use"
        try:
            file = path.open("a", encoding="utf-8")
            lock_file(file, shared=True)
            os.utime(path)
        except OSError:
            return None
        return file


def read_description(home: Path) -> dict[str, Any] | None:
    """Read the description in a cache's folder; None if there is none that can be read."""
    try:
        content = json.loads(read_text(home / "cache.json", MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    return content


def _leave_out_dataset(description: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the name, which is for people: datasets of the same images and boxes share a cache."""
    return {key: value for key, value in description.items() if key != "dataset"}


def _compute_digest(crops: NDArray[np.uint8], shapes: NDArray[np.int32]) -> bytes:
    digest = hashlib.sha256(np.ascontiguousarray(crops).data)
    digest.update(np.ascontiguousarray(shapes).data)
    return digest.digest()
