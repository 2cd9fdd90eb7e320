"""Which images and films are in a folder."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llpp.errors import DataError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff")
FILM_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
# DeepLabCut's folder of frames, and the beginning of the folders in it that hold batches of llpp.
FRAME_FOLDER = "labeled-data"
BATCH_START = "llpp_"
MAX_EXAMPLES = 3


@dataclass(frozen=True)
class FoundFile:
    """A file as it is now."""

    name: str  # path below the folder, with / between its parts
    bytes: int
    changed_ns: int  # when its content was last written


@dataclass
class FolderContent:
    """Files in the order of their names."""

    images: list[FoundFile] = field(default_factory=list)
    films: list[FoundFile] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # what is left out, and why


def list_folder(root: Path, left_out: Path) -> FolderContent:
    """List the images and films below `root`, an absolute path without links.

    The folder `left_out`, hidden files and folders, and copies that llpp made for DeepLabCut are no content. Links
    that lead out of the folder are refused and named; links within it lead to what is listed anyway.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; put images or films there, or set dataset.root=…")
    content = FolderContent()
    outside: list[str] = []
    unnameable: list[str] = []
    for entry in _walk(root, left_out, content.remarks):
        ending = f".{entry.name.rpartition('.')[2].lower()}"
        is_content = ending in IMAGE_ENDINGS or ending in FILM_ENDINGS
        if entry.is_symlink():
            if not _leads_into(root, entry.path):
                outside.append(entry.path)
            continue
        if not is_content or not entry.is_file():
            continue
        name = os.path.relpath(entry.path, root)
        if not is_printable(name):
            unnameable.append(name)
            continue
        status = entry.stat()
        found = FoundFile(name, status.st_size, status.st_mtime_ns)
        if ending in IMAGE_ENDINGS:
            content.images.append(found)
        else:
            content.films.append(found)
    content.images.sort(key=lambda file: file.name)
    content.films.sort(key=lambda file: file.name)
    if outside:
        content.remarks.append(
            f"{_count(outside, 'link')} out of {root} refused ({_list_examples(outside)}); put the files themselves "
            "into the folder"
        )
    if unnameable:
        content.remarks.append(
            f"{_count(unnameable, 'file')} left out, whose name is no printable UTF-8 text "
            f"({_list_examples(unnameable)}); rename them"
        )
    return content


def _walk(root: Path, left_out: Path, remarks: list[str]) -> Iterator[os.DirEntry[str]]:
    """Everything in a folder that is neither hidden nor llpp's own; a folder that cannot be read is a remark."""
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            remarks.append(f"folder {folder} cannot be read ({error.strerror}); what is in it counts as missing")
            continue
        is_frame_folder = Path(folder).name == FRAME_FOLDER
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir(follow_symlinks=False):
                yield entry
                continue
            is_batch = is_frame_folder and entry.name.startswith(BATCH_START)
            if not is_batch and Path(entry.path) != left_out:
                waiting.append(entry.path)


def _leads_into(root: Path, link: str) -> bool:
    try:
        return Path(link).resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        # It leads nowhere, or in a circle.
        return False


def is_printable(name: str) -> bool:
    """Whether a name is UTF-8 without control characters, so that tables and terminals can show it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return all(unicodedata.category(character) != "Cc" for character in name)


def _count(things: Sequence[str], noun: str) -> str:
    return f"1 {noun} is" if len(things) == 1 else f"{len(things):,} {noun}s are"


def _list_examples(names: Sequence[str]) -> str:
    shown = [ascii(name) if not is_printable(name) else name for name in sorted(names)[:MAX_EXAMPLES]]
    more = ", …" if len(names) > MAX_EXAMPLES else ""
    return ", ".join(shown) + more
