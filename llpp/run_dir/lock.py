"""One process at a time uses a run directory."""

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

ORPHAN_TIMEOUT = 20.0  # seconds to wait for what a dead owner has left behind


MAX_NAME_LENGTH = 200  # characters of a lock's owner


@contextmanager
def lock_run_dir(run_dir: Path) -> Iterator[None]:
    """Hold a run directory; StateError if a live process holds it. A dead owner's lock is free at once.

    The kernel drops the lock with its process, however that ends; the file's text only tells who it is.
    """
    path = run_dir / "lock"
    if path.is_symlink():  # its target would be emptied
        raise StateError(f"{path} is a link, which llpp never makes; delete it")
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
    """Take the lock; BlockingIOError. Loaders of a killed owner keep it until they notice, which takes seconds."""
    deadline = time.monotonic() + ORPHAN_TIMEOUT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            file.seek(0)
            found = re.fullmatch(r"process (\d+) on (.*)\n", file.read(MAX_NAME_LENGTH))
            gone = found and found[2] == socket.gethostname() and not Path(f"/proc/{found[1]}").exists()
            if not (gone and Path("/proc/self").exists()) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def check_lock_held(run_dir: Path) -> None:
    """Raise StateError if a run directory is not the one any more that this process has locked."""
    try:
        owner = read_text(run_dir / "lock", MAX_NAME_LENGTH)
    except (OSError, ValueError):
        owner = ""
    if owner != _describe_owner():
        raise StateError(
            f"{run_dir} was removed or replaced while this run was using it; bring it back and start the same "
            "command again, or begin anew"
        )


def _describe_owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}\n"
