"""Reading files up to a size limit, replacing files whole or not at all, and locking them."""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

ENOTSUPP = 524  # of Linux; what some network file systems answer, and Python has no name for
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, ENOTSUPP}


def read_bytes(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises:
        OSError: a larger file, or one of another kind: a pipe or a device may never end.
    """
    with open(path, "rb", opener=_open_nonblocking) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if status.st_size > most:
            reason = f"it has {status.st_size:,} bytes, more than the limit of {most:,}"
            raise OSError(errno.EFBIG, reason, str(path))
        return file.read()


def read_start(path: Path, most: int) -> bytes:
    """Read at most the first `most` bytes of a regular file; OSError for a file of another kind."""
    with open(path, "rb", opener=_open_nonblocking) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return file.read(most)


def read_text(path: Path, most: int) -> str:
    """Read a file like `read_bytes`, as UTF-8.

    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: content that is not UTF-8; it is a ValueError.
    """
    return read_bytes(path, most).decode()


def _open_nonblocking(path: str, flags: int) -> int:
    # Opening a pipe would otherwise wait until another process writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


def compute_sha256(path: Path) -> str:
    """Return the digest of a file's content, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file next to `path`, flush it to the disk, then move it to `path`.

    After a crash at any moment `path` has its old content or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    # In someone else's folder it may be a link; writing to it would overwrite the link's target.
    part.unlink(missing_ok=True)
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        # The system names no file when a write fails, and a message has to say where there is no room.
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace `path` with a file that holds `content`."""
    replace_file(path, lambda part: _write_bytes(part, content))


def replace_text(path: Path, text: str) -> None:
    """Replace `path` with a UTF-8 file that holds `text`."""
    replace_bytes(path, text.encode())


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


class NoLocksError(OSError):
    """A file on storage that has no locks."""


def lock_file(file: IO[Any], shared: bool = False) -> None:
    """Take the lock of an open file, which the kernel keeps until the file is closed by all who have it.

    Raises:
        BlockingIOError: another process has it.
        NoLocksError: the storage has no locks, as some network and user-space file systems.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise NoLocksError(error.errno, "its storage has no file locks", file.name) from error
