"""Files of value are replaced whole or not at all; files of others are read up to a size."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path


def read_bytes(path: Path, most: int) -> bytes:
    """Content of a regular file of at most `most` bytes; OSError otherwise: a pipe or a device may never end."""
    with open(path, "rb", opener=_open_nonblocking) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, {most:,} at most are read", str(path))
        return file.read()


def read_text(path: Path, most: int) -> str:
    """The same as UTF-8; UnicodeDecodeError, a ValueError, if it is none."""
    return read_bytes(path, most).decode()


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for somebody to write


def compute_sha256(path: Path) -> str:
    """Digest of a file's content, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk, then put it in `path`'s place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # in a folder from somebody else it may be a link to a file of value
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Replace `path` by a UTF-8 file that holds `text`."""
    replace_file(path, lambda part: _write_text(part, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
