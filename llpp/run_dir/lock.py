"""The lock that lets one process at a time use a run directory."""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from llpp.errors import OccupiedError, StateError
from llpp.files import read_text

ORPHAN_TIMEOUT = 20.0  # seconds to wait for the processes that a dead owner left behind
MAX_NAME_LENGTH = 200  # characters of a lock's owner


@contextmanager
def lock_run_dir(run_dir: Path) -> Iterator[None]:
    """Hold a run directory for the duration of a with block.

    The kernel releases the lock when its process ends, however that happens; the file's text only names the owner.

    Raises:
        OccupiedError: a live process holds the run directory.
        StateError: the lock is a link.
    """
    path = run_dir / "lock"
    if path.is_symlink():
        # Writing the owner would overwrite the link's target.
        raise StateError(f"{path} is a link, which llpp never creates; delete it")
    with path.open("a+", encoding="utf-8") as file:
        try:
            _acquire_lock(file)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read(MAX_NAME_LENGTH).strip() or "another process"
            raise OccupiedError(
                f"{run_dir} is in use by {owner}; wait for it, stop it, or choose another name=… or seed=…; if that "
                f"machine is dead and its storage still keeps the lock, delete {path}"
            ) from error
        file.truncate(0)
        file.write(_describe_owner())
        file.flush()
        yield


def _acquire_lock(file: TextIO) -> None:
    """Take the lock; BlockingIOError if another process keeps it.

    The loaders of a killed owner hold the lock for some seconds until they notice, so this waits for them.
    """
    deadline = time.monotonic() + ORPHAN_TIMEOUT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not _has_dead_owner(file) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _has_dead_owner(file: TextIO) -> bool:
    """Return whether the lock's text names a process of this machine that has ended."""
    file.seek(0)
    owner = re.fullmatch(r"process (\d+) on (.*)\n", file.read(MAX_NAME_LENGTH))
    if owner is None or owner[2] != socket.gethostname():
        return False
    # Without /proc, as on macOS, nothing is known about other processes.
    return Path("/proc/self").exists() and not Path(f"/proc/{owner[1]}").exists()


def check_lock_held(run_dir: Path) -> None:
    """Raise StateError unless the run directory is still the one that this process has locked."""
    try:
        owner = read_text(run_dir / "lock", MAX_NAME_LENGTH)
    except (OSError, ValueError):
        owner = ""
    if owner != _describe_owner():
        raise StateError(
            f"{run_dir} was removed or replaced while this run was using it; restore it and run the same command "
            "again to resume, or start a new run"
        )


def _describe_owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}\n"
