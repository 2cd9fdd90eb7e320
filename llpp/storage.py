"""Errors of storage and of the system, in one sentence that blames the right place."""

import errno
import multiprocessing
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from llpp.errors import LlppError, StateError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
NO_WRITING = {*NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS}  # a file that is missing says nothing of its folder
SHARED_MEMORY = Path("/dev/shm")  # where loaders put batches for the main process
# How the names of temporary files begin: those of Python, its multiprocessing, llpp, torch and joblib.
TEMPORARY_NAMES = ("tmp", "pymp-", "llpp-", "torch", "joblib", "loky")
REMEDIES = {
    errno.EMFILE: "raise the limit (ulimit -n 4096), or lower data.workers",
    errno.ENFILE: "close other programs, or lower data.workers",
    errno.ENOMEM: "free memory, or lower data.workers",
    errno.EAGAIN: "end other processes or raise their limit (ulimit -u), or lower data.workers",
    errno.ENAMETOOLONG: "choose a shorter one",
    errno.ENOENT: "check its spelling",
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EACCES: "give permission",
    errno.EPERM: "give permission",
    errno.EROFS: "give permission to write there",
}
DEFAULT_REMEDY = "check that storage"
AGAIN = "and run the same command again"
OTHER_COMMAND = {errno.ENAMETOOLONG, errno.ENOENT}  # what was typed is likely to be the cause
FULL_ERROR = "HYDRA_FULL_ERROR=1 shows the traceback"


@contextmanager
def explain_os_errors() -> Iterator[None]:
    """Turn errors of the system that a user can do something about into an LlppError; others pass."""
    try:
        yield
    except OSError as error:
        number, _, path = _read_error(error)
        # Connections, processes and libraries raise OSError, too, without saying about which file.
        if number is None or (path is None and number not in REMEDIES):
            raise
        raise LlppError(describe_os_error(error)) from error


def describe_os_error(error: OSError) -> str:
    """Return one sentence about an error: where, what and the remedy."""
    number, reason, path = _read_error(error)
    place = path
    if number in NO_ROOM and path is None:
        place = find_full_folder(())
    remedy = REMEDIES.get(number or 0, DEFAULT_REMEDY)
    if number not in OTHER_COMMAND:
        remedy = f"{remedy} {AGAIN}"
    if place is None and number in NO_ROOM:
        return f"what is printed cannot be written: {reason}; make room where it goes {AGAIN} ({FULL_ERROR})"
    if place is None:
        return f"the system refuses: {reason}; {remedy} ({FULL_ERROR})"
    if number in NO_WRITING and _is_temporary(place):
        return (
            f"cannot write temporary files ({place}): {reason}; make room there, or set the environment variable "
            f"TMPDIR to another folder, {AGAIN}"
        )
    if number in NO_ROOM and _is_inside(place, SHARED_MEMORY):
        return (
            f"there is no room for the images of the loaders in {SHARED_MEMORY} ({reason}); make it larger (in "
            f"Docker: --shm-size=2g), or set data.workers=0, {AGAIN}"
        )
    return f"{place} cannot be used: {reason}; {remedy} ({FULL_ERROR})"


def check_shared_memory(workers: int) -> None:
    """Raise LlppError if loading processes are wanted, and the system refuses what they share with this one."""
    if workers == 0:
        return
    try:
        # A file in /dev/shm, of which the system's error says nothing; Lightning would hide that error, too.
        multiprocessing.Lock()
    except OSError as error:
        raise LlppError(
            f"data.workers={workers} needs shared memory, and {SHARED_MEMORY} refuses it ({error.strerror}); set "
            f"data.workers=0, or let this user write there (chmod 1777 {SHARED_MEMORY}), and make room if it is full"
        ) from error


def explain_storage_error(error: OSError, run_dir: Path, folders: Mapping[str, Path]) -> StateError:
    """Return the error about a run's storage; it blames the run directory only if that is the place.

    Args:
        error: what the system said.
        run_dir: the run directory.
        folders: other folders that the run writes to, by the setting that chooses them.
    """
    number, reason, path = _read_error(error)
    known = {"paths.runs": run_dir, **folders}
    if path is None and number in NO_ROOM:
        path = find_full_folder(tuple(known.values()))
    setting = _find_setting(path, known)
    safe = "the last committed round is safe"
    remedy = "Make room or give permission and run the same command again"
    if path is None and number not in NO_ROOM:
        # Code that writes a file of the run says which one; so this is another file.
        return StateError(f"{describe_os_error(error)}; {safe}")
    if path is None or setting == "paths.runs":
        return StateError(
            f"cannot write to the run directory {run_dir}: {reason}; {safe}. {remedy}, or choose another paths.runs=…"
        )
    if setting is not None:
        return StateError(f"cannot write to {path}: {reason}; {safe}. {remedy}, or choose another {setting}=…")
    return StateError(f"{describe_os_error(error)}; {safe}")


def find_full_folder(folders: Sequence[Path]) -> Path | None:
    """Return the first of some folders, and the temporary ones, whose storage has no room; None if all have."""
    for folder in (*folders, _get_temporary_folder(), SHARED_MEMORY):
        try:
            status = os.statvfs(folder)
        except OSError:
            continue
        # Some file systems do not count files.
        if status.f_bavail == 0 or (status.f_files > 0 and status.f_favail == 0):
            return folder
    return None


def _find_setting(path: Path | None, folders: Mapping[str, Path]) -> str | None:
    """Return the setting that chooses the innermost of some folders that hold `path`; None if none does."""
    found = None
    depth = 0
    for setting, folder in folders.items():
        parts = len(folder.absolute().parts)
        if path is not None and _is_inside(path, folder) and parts > depth:
            found = setting
            depth = parts
    return found


def _is_inside(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())


def _is_temporary(path: Path) -> bool:
    """Return whether a program's temporary files are at `path`; people keep their own files in that folder, too."""
    folder = _get_temporary_folder()
    if path == folder:
        return True
    return _is_inside(path, folder) and path.absolute().relative_to(folder).parts[0].startswith(TEMPORARY_NAMES)


def _get_temporary_folder() -> Path:
    """Return the folder for temporary files, also if nothing can be written there."""
    try:
        return Path(tempfile.gettempdir()).absolute()
    except OSError:
        return Path(os.environ.get("TMPDIR", "/tmp")).absolute()


def _read_error(error: OSError) -> tuple[int | None, str, Path | None]:
    """Return an error's number, its reason and the file that it names, each if it is known."""
    if error.errno is not None:
        name = error.filename
        path = Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None
        return error.errno, error.strerror or os.strerror(error.errno), path
    # torch raises an error of a loading process again, with nothing but its text.
    text = str(error)
    last = re.search(r"\[Errno (\d+)\] (.*?)(?:: '(.*)')?\s*$", text)
    if last is None:
        return None, text, None
    return int(last[1]), last[2], Path(last[3]) if last[3] else None
