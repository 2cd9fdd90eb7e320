"""The files of labelling tools in folders and ZIP archives."""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llpp.errors import DataError

ENDINGS = (".json", ".jsonl", ".xml", ".csv", ".h5", ".slp", ".txt", ".yaml", ".yml")  # of files with labels
# What stands next to labels in a tool's folder or export, and never holds any by itself.
OTHERS = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".mp4", ".avi", ".mov", ".mkv", ".webm",
    ".yaml", ".yml", ".md", ".pdf", ".log", ".pickle",
)  # fmt: skip
NAMES_OF_CLASSES = "classes.txt"  # of editors of YOLO's files, among the labels
MAX_MEMBERS = 50_000
MAX_BYTES = 1 << 30  # of all members of an archive
MAX_RATIO = 200  # of a member's size and its packed size; real label files reach some 50
RATIO_FROM = 1 << 20  # bytes; small files of equal lines may be packed better
CHUNK = 1 << 20


@dataclass(frozen=True)
class LabelFile:
    """A file to read."""

    path: Path
    name: str  # for messages and the journal; of an archive's member archive.zip/member


def list_label_files(path: Path) -> list[Path]:
    """Return a file itself, or all files below a folder that may hold labels, in the order of their paths."""
    if not path.is_dir():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not _is_passed_over(name))
        found += [Path(folder, name) for name in names if not _is_passed_over(name)]
    return sorted(found)


def is_unfinished(name: str) -> bool:
    """Return whether a file's name says that it is hidden or only half copied."""
    lower = name.lower()
    is_hidden = lower.startswith((".", "~", "__macosx")) or lower.endswith("~")
    return is_hidden or lower.endswith((".part", ".tmp", ".crdownload"))


def _is_passed_over(name: str) -> bool:
    return is_unfinished(name) or name == NAMES_OF_CLASSES or name.lower().endswith(OTHERS)


def is_archive(start: bytes) -> bool:
    """Return whether a file that starts like this is a ZIP archive."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


@contextmanager
def unpack_archive(path: Path, name: str, folder: Path) -> Iterator[list[LabelFile]]:
    """Unpack the label files of an archive into `folder`, which is deleted before and afterwards.

    `name`: what the archive is called in messages, and in the names of its files.

    Raises:
        DataError: the archive is damaged, has a password, or is suspiciously large.
    """
    # What a process left that was killed.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _unpack(path, name, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(path: Path, name: str, folder: Path) -> list[LabelFile]:
    time = path.stat().st_mtime_ns
    files = []
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _list_members(name, archive.infolist()):
                parts = _clean_name(member.filename)
                if not parts:
                    continue
                target = folder.joinpath(*parts)
                if target.exists():
                    raise DataError(f"{name} has two files {'/'.join(parts)}; pack it again")
                target.parent.mkdir(parents=True, exist_ok=True)
                left -= _copy_member(archive, member, target, left, name)
                # The members' own dates have no time zone.
                os.utime(target, ns=(time, time))
                if not _is_passed_over(parts[-1]):
                    files.append(LabelFile(target, "/".join((name, *parts))))
    # Python raises NotImplementedError about a compression that it lacks, and RuntimeError about a password.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"{name} cannot be unpacked: {error}; pack it again as ZIP, without a password") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"{name} has a file and a folder of one name; pack it again") from error
    return sorted(files, key=lambda file: file.name)


def _list_members(name: str, members: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The members that may hold labels; DataError if there are too many."""
    wanted = []
    for member in members:
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if member.filename.lower().endswith(ENDINGS) and not member.is_dir() and not is_link:
            wanted.append(member)
    if len(wanted) > MAX_MEMBERS:
        raise DataError(f"{name} has {len(wanted):,} files, more than {MAX_MEMBERS:,}; split it")
    return wanted


def _clean_name(name: str) -> list[str]:
    """The parts of a member's name that stay in a folder; none for a hidden file."""
    parts = []
    for part in PurePosixPath(name.replace("\\", "/").replace("\0", "")).parts:
        is_drive = len(part) == 2 and part.endswith(":")
        if part in ("/", "//", ".", "..") or is_drive:
            continue
        if part.startswith(".") or part == "__MACOSX":
            return []
        parts.append(part)
    return parts


def _copy_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int, name: str) -> int:
    """Unpack a member of at most `left` bytes, whatever its header says, and return its size."""
    most = max(MAX_RATIO * member.compress_size, RATIO_FROM)
    size = 0
    with archive.open(member) as source, target.open("wb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > left:
                raise DataError(f"{name} unpacks to more than {MAX_BYTES >> 20:,} MiB; split it")
            if size > most:
                raise DataError(
                    f"{member.filename} in {name} unpacks to more than {MAX_RATIO} times its size, which no file of "
                    "labels does; unpack it yourself and put the file here"
                )
            file.write(chunk)
    return size
