"""Which image of a project is meant by a path that something else has written."""

import unicodedata
from collections.abc import Iterable, Iterator

from llpp.datasets.coco.oddities import Tally, format_value
from llpp.datasets.project.index import ProjectIndex


def normalise_path(path: str) -> str:
    """Return a path with composed characters and / between its parts: not all systems and tools write it so."""
    composed = unicodedata.normalize("NFC", path).replace("\\", "/")
    return composed.removeprefix("./").strip("/")


class PathEndings:
    """Finds what has the most last parts of a path in common with another path."""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = {}

    def add(self, path: str, id_: str) -> None:
        """Add a normalised path of `id_`."""
        for ending in list_endings(path):
            self._ids.setdefault(ending, set()).add(id_)

    def find(self, path: str) -> set[str]:
        """Return the ids whose paths have the most last parts in common, but at least the name of the file."""
        for ending in list_endings(path):
            if ending in self._ids:
                return self._ids[ending]
        return set()


def list_endings(path: str) -> Iterator[str]:
    """A path, and what is left of it without its first part, its first two, and so on."""
    while path:
        yield path
        _, _, path = path.partition("/")


def match_names(names: Iterable[str], index: ProjectIndex, tally: Tally) -> dict[str, int]:
    """Return the row of the image that each name means; names that mean none, or several, are counted and left out.

    A name is an id or a path below the root, or else a path that ends as that of one image alone, if only in its
    file name. Of several names for one image only the exact one is taken.
    """
    rows = {image: row for row, image in enumerate(index.ids)}
    exact, endings = _collect_paths(index)
    surely: dict[str, str] = {}
    perhaps: dict[str, list[str]] = {}
    for name in names:
        path = normalise_path(name)
        if path in exact:
            surely.setdefault(exact[path], name)
            continue
        images = endings.find(path)
        if not images:
            tally.add("images of the file of boxes are not in the project", format_value(name))
        elif len(images) > 1:
            tally.add("images of the file of boxes may be several of the project; write their folders", repr(name))
        else:
            perhaps.setdefault(next(iter(images)), []).append(name)

    matched = {name: rows[image] for image, name in surely.items()}
    for image, candidates in perhaps.items():
        if image in surely or len(candidates) > 1:
            for name in candidates:
                tally.add("images of the file of boxes end as one image of the project does", format_value(name))
        else:
            matched[candidates[0]] = rows[image]
    return matched


def _collect_paths(index: ProjectIndex) -> tuple[dict[str, str], PathEndings]:
    """The image of each path, and of each ending of a path."""
    exact: dict[str, str] = {}
    endings = PathEndings()
    for row, (image, file, found) in enumerate(zip(index.ids, index.files, index.found, strict=True)):
        paths = [image, file]
        if index.frame[row] < 0:
            # All frames of a film have its path.
            paths.append(found)
        for path in map(normalise_path, paths):
            exact.setdefault(path, image)
            endings.add(path, image)
    return exact, endings
