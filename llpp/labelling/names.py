"""Which image of the project an entry of a labelling tool means."""

import bisect
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from llpp.datasets.project.image_names import PathEndings, normalise_path
from llpp.datasets.project.index import ProjectIndex
from llpp.datasets.project.project_file import ProjectFile
from llpp.oracles.tool import Entry

FRAME = re.compile(r"(.+)#(\d{1,12})")  # film.mp4#000123
ENDING = re.compile(r"(?<=.)\.[A-Za-z0-9]{1,5}$")
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the names of images that are uploaded
LONGEST = 255  # characters of a file's name; the time of a comparison grows with their square
NEIGHBOURS = 8  # names, in the order of the alphabet, that are compared with an unknown one on each side


@dataclass(frozen=True)
class Match:
    """What was found for an entry: an image, or why there is none."""

    image: str  # id; empty: none
    reason: str = ""  # a sentence without a full stop
    nearest: str = ""  # id of the image with the most similar name


class ImageFinder:
    """Finds images by what tools call them.

    Names are compared with Unicode's composed letters and with / between the parts of a path: file systems and tools
    change both. Where a name fits two images in the surest way that it fits any, neither is taken.
    """

    def __init__(self, project: ProjectFile, index: ProjectIndex, copies: Mapping[str, Iterable[str]]) -> None:
        """`copies`: names of images' copies in the folders of batches → ids."""
        self._ids = set(index.ids)
        self._paths: dict[str, set[str]] = {}
        self._copies: dict[str, set[str]] = {}
        self._endings = PathEndings()
        self._by_stem: dict[str, set[str]] = {}
        rows = zip(index.ids, index.found, index.files, index.film, strict=True)
        for image, found, file, film in rows:
            # A frame is found by the path of its file, and by its number in the film, see below.
            for path in {file} if film else {image, found, file}:
                self._add(path, image)
        for name, images in copies.items():
            for image in images:
                base = normalise_path(name)
                self._copies.setdefault(base, set()).add(image)
                self._by_stem.setdefault(_get_stem(base), set()).add(image)

        # Some file systems and tools change the case of names.
        self._by_stem_in_lower_case: dict[str, set[str]] = {}
        for stem, images in self._by_stem.items():
            self._by_stem_in_lower_case.setdefault(stem.lower(), set()).update(images)

        # By their paths at first and now. Images have no film.
        self._films = {film.id: film for film in project.films}
        self._film_endings = PathEndings()
        for film_id, path in {(film, film) for film in self._films} | set(zip(index.film, index.found, strict=True)):
            if film_id in self._films:
                self._film_endings.add(normalise_path(path), film_id)
        self._neighbours: tuple[list[tuple[str, str]], list[tuple[str, str]]] | None = None

    def find(self, entry: Entry) -> Match:
        """Find the image of an entry."""
        if entry.image in self._ids:
            return Match(entry.image)
        names = _list_variants(entry.names)
        if not names:
            return Match("", f"the project has no image {entry.image!r}", self._find_nearest(entry.image))
        for name in names:
            frame = FRAME.fullmatch(name)
            if frame is not None and name not in self._paths:
                match = self._find_frame(frame[1], int(frame[2]))
                if match is not None:
                    return match
        for images in self._list_candidates(names):
            if len(images) == 1:
                return Match(next(iter(images)))
            if images:
                return _describe_ambiguity(names[0], images)
        reason = "the project has no image of this name; use the name that the batch or the project's folder has"
        return Match("", reason, self._find_nearest(names[0]))

    def _add(self, path: str, image: str) -> None:
        name = normalise_path(path)
        self._paths.setdefault(name, set()).add(image)
        self._endings.add(name, image)
        self._by_stem.setdefault(_get_stem(_get_base(name)), set()).add(image)

    def _list_candidates(self, names: Sequence[str]) -> Iterable[set[str]]:
        """The images that fit names, in the surest way first."""
        bases = [_get_base(name) for name in names]
        # A batch may have a copy under the name that another image has below the root; only more parts of the path
        # could say which one is meant.
        for name, base in zip(names, bases, strict=True):
            yield self._paths.get(name, set()) | self._copies.get(base if _is_below_batch(name) else name, set())
        for base in bases:
            yield self._copies.get(base, set())
        for name in names:
            yield self._endings.find(name)
        short = [UPLOADED.sub("", base, count=1) for base in bases if UPLOADED.match(base)]
        for base in short:
            yield self._copies.get(base, set())
        for base in short:
            yield self._endings.find(base)
        for base in (*bases, *short):
            yield self._by_stem.get(base, set())
            yield self._by_stem.get(_get_stem(base), set())
            yield self._by_stem_in_lower_case.get(_get_stem(base).lower(), set())

    def _find_frame(self, path: str, number: int) -> Match | None:
        """The image of a frame that is named by its number in a film; None if the film is not known."""
        found = self._film_endings.find(path)
        if not found:
            return None
        if len(found) > 1:
            return _describe_ambiguity(path, found)
        film = self._films[next(iter(found))]
        image = f"{film.id}#{number:06d}"
        nearest = image if image in self._ids else self._find_nearest(image)
        if film.has_variable_rate:
            reason = (
                f"frame {number} of {film.id} is named by its number, but the film has a variable rate, and programs "
                "that jump to a frame of such a film show another one; label the images that the batch has, or start "
                "a new project with the film re-encoded at a constant rate"
            )
            return Match("", reason, nearest)
        if image not in self._ids:
            reason = (
                f"frame {number} of {film.id} is not an image of the project: one of {film.every} frames was cut at "
                "most; label frames that the batch names, or start a new project with dataset.every=1"
            )
            return Match("", reason, nearest)
        return Match(image)

    def _find_nearest(self, name: str) -> str:
        """The id with the most similar name among those next to it in the alphabet, read forwards or backwards.

        Comparing with all names takes a second per unknown name and 20,000 images.
        """
        if self._neighbours is None:
            bases = [(_get_base(normalise_path(image)).lower(), image) for image in self._ids]
            backwards = [(base[::-1], image) for base, image in bases]
            self._neighbours = (sorted(bases), sorted(backwards))
        base = _get_base(normalise_path(name)).lower()[-LONGEST:]
        candidates: dict[str, str] = {}
        for listed, wanted, step in ((self._neighbours[0], base, 1), (self._neighbours[1], base[::-1], -1)):
            middle = bisect.bisect_left(listed, (wanted, ""))
            for text, image in listed[max(middle - NEIGHBOURS, 0) : middle + NEIGHBOURS]:
                candidates.setdefault(text[::step], image)
        similar = difflib.get_close_matches(base, sorted(candidates), n=1)
        return candidates[similar[0]] if similar else ""


def _describe_ambiguity(name: str, images: Iterable[str]) -> Match:
    first, second, *others = sorted(images)
    more = f" and {len(others)} more" if others else ""
    reason = f"{name} may be {first} or {second}{more}; use names with their folders"
    return Match("", reason)


def _list_variants(names: Iterable[str]) -> list[str]:
    """Names as the project may have them, without repetition: as they are, and with %20 and its like decoded."""
    variants: dict[str, None] = {}
    for name in names:
        plain = normalise_path(name)
        if plain:
            variants[plain] = None
        if "%" in name:
            variants[normalise_path(unquote(name))] = None
    return list(variants)


def _get_base(path: str) -> str:
    return path.rpartition("/")[2]


def _is_below_batch(name: str) -> bool:
    """Whether a name is that of a copy in a batch's folder `images`."""
    return PurePosixPath(name).parent.name == "images"


def _get_stem(base: str) -> str:
    """The name without its ending; film.mp4#000123 has none."""
    return ENDING.sub("", base)
