"""File names of images as tools write them → paths below the folder of images.

Names from another machine are absolute, have backslashes, or begin with the folder of images itself. What is wrong
with them is decided for all names of one folder together, and files are looked for only where there is a choice: a
dataset may have a hundred thousand images on a network drive.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import TypeVar

from llpp.datasets.coco.oddities import Oddities
from llpp.datasets.images import is_file
from llpp.errors import DataError

MAX_TRIED = 20  # names of a folder whose files are looked for: some may be missing
Parent = tuple[str, str]  # drive or root, and the folder with the slashes that it is written with
IdT = TypeVar("IdT")
Change = tuple[str, Callable[[str], str]]  # what is odd about the names of a folder, and how each is read instead


def resolve_file_names(names: Mapping[IdT, str], folder: Path, oddities: Oddities) -> dict[IdT, str]:
    """Return the path below `folder` of each image's file.

    Raises:
        DataError: a name leads out of the folder.
    """
    by_parent: dict[Parent, list[str]] = {}
    parents = []
    for image, name in names.items():
        # Windows paths know both kinds of slash.
        parsed = PureWindowsPath(name)
        if ".." in parsed.parts or not parsed.name:
            raise _make_error(image, name, folder, oddities)
        end = max(name.rfind("/"), name.rfind("\\"))
        parent = (parsed.anchor, name[: end + 1])
        parents.append(parent)
        by_parent.setdefault(parent, []).append(name)

    changes: dict[Parent, Change | None] = {}
    for parent, siblings in by_parent.items():
        changes[parent] = _choose_change(siblings, folder)
    resolved = {}
    for parent, (image, name) in zip(parents, names.items(), strict=True):
        change = changes[parent]
        anchor, _ = parent
        if change is not None:
            kind, drop_parts = change
            oddities.accept(kind, f"image {image!r}: {name!r}")
            resolved[image] = drop_parts(name)
        elif anchor:
            raise _make_error(image, name, folder, oddities)
        else:
            resolved[image] = name
    _count_shared_files(names, resolved, oddities)
    return resolved


def _count_shared_files(names: Mapping[IdT, str], resolved: Mapping[IdT, str], oddities: Oddities) -> None:
    """Count the names that are read as the same file as another name: labels of two images may have come to one."""
    first_names: dict[str, str] = {}
    for image, name in names.items():
        first = first_names.setdefault(resolved[image], name)
        if first != name:
            oddities.accept(
                "file names are read as the same file as another one, which is wrong if they are two images",
                f"image {image!r}: {name!r}, as {first!r}",
            )


def _choose_change(names: Sequence[str], folder: Path) -> Change | None:
    """Choose how the names of one folder are read; None: as they are."""
    first = PureWindowsPath(names[0])
    if first.anchor:
        count = _find_dropped_count(names, folder, range(1, len(first.parts)))
        if count is None:
            return None
        return "absolute file names are read by their end", _make_dropper(count)
    has_backslash = "\\" in names[0]
    if not has_backslash and first.parts[0] not in folder.parts:
        return None
    tried = names[:MAX_TRIED]
    if any(is_file(folder / name) for name in tried):
        return None
    repeated = []
    for count in range(1, len(first.parts)):
        if folder.parts[-count:] == first.parts[:count]:
            repeated.append(count)
    count = _find_dropped_count(names, folder, repeated)
    if count is not None:
        return "file names are read without the folder of images before them", _make_dropper(count)
    if has_backslash:
        return "file names with backslashes are read as with slashes", _make_dropper(0)
    return None


def _find_dropped_count(names: Sequence[str], folder: Path, counts: Sequence[int]) -> int | None:
    """Return after how many of their first parts the names of one folder are files; None if they never are."""
    for name in names[:MAX_TRIED]:
        parts = PureWindowsPath(name).parts
        for count in counts:
            if is_file(folder.joinpath(*parts[count:])):
                return count
    return None


def _make_dropper(count: int) -> Callable[[str], str]:
    return lambda name: "/".join(PureWindowsPath(name).parts[count:])


def _make_error(image: object, name: str, folder: Path, oddities: Oddities) -> DataError:
    return DataError(
        f"{oddities.path}: image {image!r} has the file name {name!r}; expected a path inside the folder of images "
        f"({folder}), without .., or an absolute one whose end is the path of a file there"
    )
