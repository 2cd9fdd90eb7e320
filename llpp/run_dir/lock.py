"""The lock that lets one process at a time use a run directory."""

import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from llpp.errors import OccupiedError, StateError
from llpp.files import NoLocksError, lock_file, read_text

log = logging.getLogger(__name__)
ORPHAN_TIMEOUT = 20.0  # seconds to wait for the processes that a dead owner left behind
MAX_NAME_LENGTH = 200  # characters of a lock's owner


@contextmanager
def lock_run_dir(run_dir: Path, alternative: str = "choose another name=… or seed=…") -> Iterator[None]:
    """Hold a run directory, or another folder, for the duration of a with block.

    `alternative` is what a second process may do instead, in words.

    The kernel releases the lock when its process ends, however that happens; the file's text only names the owner.
    On storage without locks the text is all there is. A live owner on this machine is found by its process id. Of two
    on different machines, the first one ends when it commits a round, because the text is no longer its own then.

    Raises:
        OccupiedError: a live process holds the run directory.
        StateError: the lock is a link.
    """
    path = run_dir / "lock"
    if path.is_symlink():
        # Writing the owner would overwrite the link's target.
        raise StateError(f"{path} is a link, which llpp never creates; delete it")
    with path.open("a+", encoding="utf-8") as file:
        has_locks = True
        try:
            _acquire_lock(file)
        except NoLocksError:
            has_locks = False
            if _has_live_owner(file):
                raise _make_occupied_error(run_dir, file, alternative) from None
            log.warning(
                "%s: its storage has no file locks; start no second job in it from another machine%s",
                run_dir,
                _mention_other_owner(file),
            )
        except BlockingIOError as error:
            raise _make_occupied_error(run_dir, file, alternative) from error
        file.truncate(0)
        file.write(_describe_owner())
        file.flush()
        try:
            yield
        finally:
            if not has_locks:
                _leave(file)


def _leave(file: TextIO) -> None:
    """Remove the owner's name, unless it is another's by now: its number may be that of another process one day."""
    if _read_owner(file) == _describe_owner():
        file.truncate(0)


def _make_occupied_error(run_dir: Path, file: TextIO, alternative: str) -> OccupiedError:
    owner = _read_owner(file).strip() or "another process"
    sentence = (
        f"{run_dir} is in use by {owner}; wait for it, stop it, or {alternative}; if that "
        f"machine is dead and its storage still keeps the lock, delete {run_dir / 'lock'}"
    )
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks != "1":
        sentence += (
            f" (srun has started this command {tasks} times; llpp starts one process per device itself: srun "
            "--ntasks=1 llpp run trainer.devices=…)"
        )
    return OccupiedError(sentence)


def _acquire_lock(file: TextIO) -> None:
    """Take the lock; BlockingIOError if another process keeps it.

    The loaders of a killed owner hold the lock for some seconds until they notice, so this waits for them.
    """
    deadline = time.monotonic() + ORPHAN_TIMEOUT
    while True:
        try:
            lock_file(file)
            return
        except BlockingIOError:
            if not _has_dead_owner(file) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _read_owner(file: TextIO) -> str:
    file.seek(0)
    return file.read(MAX_NAME_LENGTH)


def _find_process(file: TextIO) -> int | None:
    """Return the id of the process of this machine that the lock's text names; None if it names none."""
    owner = re.fullmatch(r"process (\d+) on (.*)\n", _read_owner(file))
    if owner is None or owner[2] != socket.gethostname():
        return None
    return int(owner[1])


def _has_dead_owner(file: TextIO) -> bool:
    """Return whether the lock's text names a process of this machine that has ended."""
    process = _find_process(file)
    # Without /proc, as on macOS, nothing is known about other processes.
    return process is not None and Path("/proc/self").exists() and not Path(f"/proc/{process}").exists()


def _has_live_owner(file: TextIO) -> bool:
    """Return whether the lock's text names another process of this machine that lives."""
    process = _find_process(file)
    return process not in (None, os.getpid()) and Path(f"/proc/{process}").exists()


def _mention_other_owner(file: TextIO) -> str:
    """Return the end of a sentence about the last owner, if that was on another machine."""
    owner = _read_owner(file).strip()
    if not owner or _find_process(file) is not None:
        return ""
    return f" ({owner} used it last, and may still do so)"


def check_lock_held(run_dir: Path) -> None:
    """Raise StateError unless the run directory is still the one that this process has locked."""
    try:
        owner = read_text(run_dir / "lock", MAX_NAME_LENGTH)
    except (OSError, ValueError):
        owner = ""
    if owner == _describe_owner():
        return
    if owner:
        raise StateError(
            f"{owner.strip()} has begun to use {run_dir} while this run was using it; wait for it or stop it, then "
            "run the same command again to resume"
        )
    raise StateError(
        f"{run_dir} was removed or replaced while this run was using it; restore it and run the same command "
        "again to resume, or start a new run"
    )


def _describe_owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}\n"
