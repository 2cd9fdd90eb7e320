"""Scores of large pools: in files that need not fit into memory, with room asked for beforehand."""

from pathlib import Path

import numpy as np
import pytest
from test_fuse_batchnorm import ROWS, scoring

from llpp.inference import evaluation

KEPT = frozenset({"embedding", "joints"})


@pytest.mark.slow
def test_a_large_column_lies_in_a_file_and_holds_the_same(tmp_path, monkeypatch):
    expected = scoring(tmp_path).score(ROWS, KEPT).columns
    monkeypatch.setattr(evaluation, "MAX_BYTES_IN_MEMORY", 4 * len(ROWS))  # one number each still lies in memory
    found = scoring(tmp_path).score(ROWS, KEPT).columns
    assert {name for name, column in found.items() if isinstance(column, np.memmap)} == KEPT
    assert all(np.array_equal(found[name], expected[name], equal_nan=True) for name in expected)
    assert not [path.name for path in tmp_path.iterdir() if path.is_file() and path.stat().st_size > 10_000]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="files without a name are looked at in /proc")
def test_room_for_a_column_is_taken_at_once(tmp_path, monkeypatch):
    """A file with holes would end the process by SIGBUS, without a word, when the disk is full."""
    monkeypatch.setattr(evaluation, "MAX_BYTES_IN_MEMORY", 0)
    column = evaluation._allocate_column((1000, 256), str(tmp_path))
    files = [fd for fd in list(Path("/proc/self/fd").iterdir()) if fd.is_symlink() and fd.exists()]
    held = [fd.stat() for fd in files if str(fd.readlink()).startswith(str(tmp_path))]
    assert held[0].st_blocks * 512 >= column.nbytes
