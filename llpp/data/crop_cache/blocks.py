"""The files of one crop cache, and how they are found to be whole.

`crops.u8` (N, side, side, 3) and `shapes.i32` (N, 2) are written in blocks of rows, `blocks.sha256` has 32 bytes for
each block that is done and zeros for the others. A block counts if its digest fits, so nothing has to be flushed in
order: what a crash or a bad disk left is cut again. `rows.id` has 16 bytes for each row, from `identity`.
"""

import fcntl
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

from llpp.files import read_text, replace_file, replace_text

ROWS_PER_BLOCK = 64  # crops of a block
DIGEST_SIZE = 32  # bytes
MAX_BYTES = 1 << 26  # of a JSON file
POLL_INTERVAL = 0.5  # seconds between looks at what another process is building
Arrays = tuple[NDArray[np.uint8], NDArray[np.int32]]


def count_cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def format_bytes(number: int) -> str:
    """Bytes for people."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 2**10:,.1f} KiB"


@dataclass(frozen=True)
class Store:
    """One cache of `count` crops of `side` pixels in the folder `home`."""

    home: Path
    count: int
    side: int

    @property
    def crop_bytes(self) -> int:
        """Of all crops."""
        return self.count * self.side * self.side * 3

    @property
    def block_count(self) -> int:
        """Their number."""
        return -(-self.count // ROWS_PER_BLOCK)

    def get_block_rows(self, block: int) -> slice:
        """Rows of a block."""
        return slice(block * ROWS_PER_BLOCK, min(self.count, (block + 1) * ROWS_PER_BLOCK))

    def _compute_file_sizes(self) -> dict[str, int]:
        return {
            "crops.u8": self.crop_bytes,
            "shapes.i32": self.count * 8,
            "blocks.sha256": self.block_count * DIGEST_SIZE,
            "rows.id": self.count * 16,
        }

    def matches(self, description: Mapping[str, Any]) -> bool:
        """Whether the folder holds, done or not, the cache that is described."""
        if read_description(self.home) != dict(description):
            return False
        try:
            return all((self.home / name).stat().st_size == size for name, size in self._compute_file_sizes().items())
        except OSError:
            return False

    def create(self, description: Mapping[str, Any], rows: NDArray[np.uint8]) -> None:
        """Lay out an empty cache; the description comes last and says that the files are there."""
        for name in ("cache.json", "bad.json", *self._compute_file_sizes()):
            (self.home / name).unlink(missing_ok=True)
        for name, size in self._compute_file_sizes().items():
            with (self.home / name).open("xb") as file:
                file.truncate(size)
        replace_file(self.home / "rows.id", lambda part: rows.tofile(part))
        replace_text(self.home / "cache.json", json.dumps(dict(description), indent=1))

    def open_arrays(self) -> Arrays:
        """Crops (N, side, side, 3) and (height, width) of their images (N, 2), as the disk has them."""
        crops = np.memmap(self.home / "crops.u8", np.uint8, "r", shape=(self.count, self.side, self.side, 3))
        shapes = np.fromfile(self.home / "shapes.i32", np.int32).reshape(self.count, 2)
        return np.asarray(crops), shapes  # rows of a memmap cost more than those of an array

    def read_digests(self) -> NDArray[np.uint8]:
        """(blocks, 32); zeros for those that are not done."""
        return np.fromfile(self.home / "blocks.sha256", np.uint8).reshape(self.block_count, DIGEST_SIZE)

    def find_written_blocks(self) -> NDArray[np.bool_]:
        """(blocks,) which have been written, whatever has become of them."""
        return np.asarray(self.read_digests().any(axis=1), dtype=np.bool_)

    def verify_blocks(self, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """(blocks,) which are done and as they were written; with `among` only some are looked at."""
        digests, (crops, shapes), found = self.read_digests(), self.open_arrays(), self.find_written_blocks()
        if among is not None:
            found &= among

        def check_block(block: int) -> bool:
            rows = self.get_block_rows(block)
            return _compute_digest(crops[rows], shapes[rows]) == bytes(digests[block])

        places = np.flatnonzero(found)
        with ThreadPoolExecutor(count_cores()) as pool:
            found[places] = list(pool.map(check_block, places.tolist()))
        return found

    def write_block(self, block: int, crops: NDArray[np.uint8], shapes: NDArray[np.int32]) -> None:
        """Put a block in its place."""
        digest = np.frombuffer(_compute_digest(crops, shapes), np.uint8)
        for name, values in (("crops.u8", crops), ("shapes.i32", shapes), ("blocks.sha256", digest)):
            part = block * (DIGEST_SIZE if name == "blocks.sha256" else ROWS_PER_BLOCK * values[0].nbytes)
            with (self.home / name).open("r+b") as file:
                file.seek(part)
                file.write(values.data)

    def clear_digests(self) -> None:
        """Let no block count as done."""
        (self.home / "blocks.sha256").write_bytes(bytes(self.block_count * DIGEST_SIZE))

    def read_bad_rows(self) -> dict[int, str]:
        """Rows whose image could not be read, with the reason."""
        try:
            found = json.loads(read_text(self.home / "bad.json", MAX_BYTES))
            known = {int(row): str(reason) for row, reason in found.items()}
        except (OSError, ValueError, AttributeError):
            known = {}
        shapes = np.fromfile(self.home / "shapes.i32", np.int32).reshape(self.count, 2)
        unknown = "its image could not be read when the crop cache was built"
        without = ~shapes.any(axis=1) & np.repeat(self.find_written_blocks(), ROWS_PER_BLOCK)[: self.count]
        return {row: known.get(row, unknown) for row in np.flatnonzero(without).tolist()}

    def write_bad_rows(self, bad: Mapping[int, str]) -> None:
        """Keep reasons of rows that have no pixels."""
        replace_text(self.home / "bad.json", json.dumps({str(row): bad[row] for row in sorted(bad)}))

    @contextmanager
    def exclusive_lock(self, wait: Callable[[], None]) -> Iterator[None]:
        """Hold the folder; `wait` is called once if another process has it. A dead owner's lock is free."""
        waited = False
        while (file := self._try_lock()) is None:
            if not waited:
                wait()
            waited = True
            time.sleep(POLL_INTERVAL)
        with file:
            yield

    def _try_lock(self) -> TextIO | None:
        self.home.mkdir(parents=True, exist_ok=True)
        file = (self.home / "lock").open("a", encoding="utf-8")
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino == (self.home / "lock").stat().st_ino:  # it may have been removed
                return file
        file.close()
        return None

    def mark_in_use(self) -> TextIO | None:
        """A mark, as long as it is open, that a process reads this cache; None where no mark can be left."""
        try:
            file = (self.home / "in_use").open("a", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.utime(self.home / "in_use")
        except OSError:
            return None
        return file


def read_description(home: Path) -> dict[str, Any] | None:
    """What a cache's folder says about itself; None if it says nothing that can be read."""
    try:
        found = json.loads(read_text(home / "cache.json", MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _compute_digest(crops: NDArray[np.uint8], shapes: NDArray[np.int32]) -> bytes:
    found = hashlib.sha256(np.ascontiguousarray(crops).data)
    found.update(np.ascontiguousarray(shapes).data)
    return found.digest()
