"""Copies of files of labels that tools keep outside the inbox: what a tool loses is not lost here."""

import shutil
from pathlib import Path

from llpp.files import compute_sha256, replace_file

DIGITS = 12  # of a file's SHA-256, in the name of its copy


def keep_copy(path: Path, folder: Path) -> Path:
    """Copy a file into a folder, before it is read; a content that is there already is not copied again.

    The copy is called as the file, with its folder in front and the beginning of its SHA-256 behind: DeepLabCut calls
    the files of all films the same.
    """
    digest = compute_sha256(path)[:DIGITS]
    copy = folder / f"{path.parent.name}-{path.stem}-{digest}{path.suffix}"
    if not copy.exists():
        replace_file(copy, lambda part: _copy(path, part))
    return copy


def _copy(path: Path, part: Path) -> None:
    shutil.copyfile(path, part)
