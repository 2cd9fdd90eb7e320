"""Which image of a project is meant by a path that something else has written."""

import unicodedata
from collections.abc import Iterable, Iterator

from llpp.datasets.coco.oddities import Tally, format_value
from llpp.datasets.project.index import ProjectIndex

UNCLEAR = -1


def match_names(names: Iterable[str], index: ProjectIndex, tally: Tally) -> dict[str, int]:
    """Return the row of the image that each name means; names that mean none, or several, are counted and left out.

    A name is an id or a path below the root, or else a path that ends as that of one image alone, if only in its
    file name. Of several names for one image only the exact one is taken.
    """
    exact, endings = _collect_paths(index)
    surely: dict[int, str] = {}
    perhaps: dict[int, list[str]] = {}
    for name in names:
        path = normalise_name(name)
        if path in exact:
            surely.setdefault(exact[path], name)
            continue
        row = _find_by_ending(path, endings)
        if row is None:
            tally.add("images of the file of boxes are not in the project", format_value(name))
        elif row == UNCLEAR:
            tally.add("images of the file of boxes may be several of the project; write their folders", repr(name))
        else:
            perhaps.setdefault(row, []).append(name)

    matched = {name: row for row, name in surely.items()}
    for row, candidates in perhaps.items():
        if row in surely or len(candidates) > 1:
            for name in candidates:
                tally.add("images of the file of boxes end as one image of the project does", format_value(name))
        else:
            matched[candidates[0]] = row
    return matched


def _collect_paths(index: ProjectIndex) -> tuple[dict[str, int], dict[str, int]]:
    """The row of each path, and of each ending of a path, UNCLEAR where several images have it."""
    exact: dict[str, int] = {}
    endings: dict[str, int] = {}
    for row, (image, file, found) in enumerate(zip(index.ids, index.files, index.found, strict=True)):
        paths = [image, file]
        if index.frame[row] < 0:
            # All frames of a film have its path.
            paths.append(found)
        for path in map(normalise_name, paths):
            exact.setdefault(path, row)
            for ending in list_endings(path):
                if endings.setdefault(ending, row) != row:
                    endings[ending] = UNCLEAR
    return exact, endings


def _find_by_ending(path: str, endings: dict[str, int]) -> int | None:
    """The row of the longest ending that is known; None if none is."""
    for ending in list_endings(path):
        if ending in endings:
            return endings[ending]
    return None


def list_endings(path: str) -> Iterator[str]:
    """A path, and what is left of it without its first part, its first two, and so on."""
    while path:
        yield path
        _, _, path = path.partition("/")


def normalise_name(name: str) -> str:
    """Composed characters, as not all systems write them, and / between the parts."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./").strip("/")
