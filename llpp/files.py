"""Reading files up to a size limit, and replacing files whole or not at all."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path


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
    finally:
        part.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Replace `path` with a UTF-8 file that holds `text`."""
    replace_file(path, lambda part: _write_text(part, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
