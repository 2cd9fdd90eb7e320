"""Which films a project has, where they are by now, and the frames of new ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.datasets.project.films import (
    CutFilm,
    choose_every,
    compute_fingerprint,
    count_frames,
    cut_film,
    is_cut,
    read_facts,
)
from llpp.datasets.project.folder_content import FoundFile
from llpp.datasets.project.image_rows import ImageRow, choose_id
from llpp.datasets.project.project_file import Film
from llpp.errors import DataError


@dataclass(frozen=True)
class CutOptions:
    """How films are cut."""

    frames: int  # of all films together, at most
    every: int | None  # each so many frames, one may be cut; None: as many as `frames` allows
    lossless: bool  # PNG instead of JPEG


@dataclass(frozen=True)
class FilmList:
    """All films whose frames are cut."""

    cut: Sequence[CutFilm]
    places: Mapping[str, str]  # path of each by now, by its id


def update_films(
    known: Sequence[Film],
    rows: Sequence[ImageRow],
    found: Sequence[FoundFile],
    root: Path,
    frames: Path,
    options: CutOptions,
) -> tuple[FilmList, list[str]]:
    """Find `known` films again, cut the frames of new ones, and return all of them with remarks.

    Args:
        known: as project.json has them.
        rows: of the index, where frames know the path of their film.
        found: films that are in the project's folder now.
        root: that folder.
        frames: the folder of all frames.
        options: how new films are cut.

    Raises:
        ConfigError: `every` gives more frames than are allowed.
    """
    places, remarks = _find_films(known, rows, found, root)
    is_there = {file.name: file.bytes for file in found}
    films = []
    for film in known:
        cut = read_facts(film.id, frames)
        if cut is None or not is_cut(cut, frames):
            cut = _cut_again(film, root / places[film.id], frames, cut)
        if cut is None:
            remarks.append(f"frames of film {film.id} are gone, and so is the film; put it back to cut them again")
            continue
        films.append(cut)
        if cut.problem:
            remarks.append(cut.problem)

    others = [file for file in found if file.name not in places.values()]
    counts, new_remarks = _count_new_films(known, others, root)
    remarks += new_remarks
    left = options.frames - sum(len(film.numbers) for film in films)
    if counts and left < 1:
        remarks.append(
            f"{len(counts)} new films are not cut, {next(iter(counts))} among them: as many frames as "
            f"dataset.frames={options.frames} allows are cut already; set a larger number"
        )
        counts = {}
    every = choose_every(list(counts.values()), left, options.every) if counts else 1
    ids = {film.id for film in known}
    for name in counts:
        film_id = choose_id(name, ids)
        try:
            cut = cut_film(root / name, film_id, is_there[name], every, frames, options.lossless)
        except DataError as error:
            remarks.append(str(error))
            continue
        ids.add(film_id)
        films.append(cut)
        places[film_id] = name
        remarks += _describe_new_film(cut)
    return FilmList(films, places), remarks


def _find_films(
    films: Sequence[Film], rows: Sequence[ImageRow], found: Sequence[FoundFile], root: Path
) -> tuple[dict[str, str], list[str]]:
    """Where the files of films are by now, by id; with a remark about each that is elsewhere, gone or another."""
    remarks = []
    sizes = {file.name: file.bytes for file in found}
    places = {film.id: film.id for film in films}
    places.update({row.film: row.found for row in rows if row.film in places})
    unclaimed = [file for file in found if file.name not in places.values()]
    for film in films:
        place = places[film.id]
        if sizes.get(place) == film.bytes:
            continue
        moved_to = None
        for file in unclaimed:
            if file.bytes == film.bytes and _has_fingerprint(root / file.name, film):
                moved_to = file
                break
        if moved_to is not None:
            unclaimed.remove(moved_to)
            places[film.id] = moved_to.name
            remarks.append(f"film {place} is called {moved_to.name} now; its frames keep their ids and labels")
        elif place in sizes:
            remarks.append(
                f"film {place} has changed since its frames were cut; they stay as they were: if it is another film, "
                "give it another name"
            )
        else:
            remarks.append(f"film {place} is missing; its frames have been cut and stay")
    return places, remarks


def _has_fingerprint(path: Path, film: Film) -> bool:
    try:
        return path.stat().st_size == film.bytes and compute_fingerprint(path) == film.digest
    except (OSError, DataError):
        return False


def _cut_again(film: Film, path: Path, frames: Path, known: CutFilm | None) -> CutFilm | None:
    """Cut a film whose frames were removed into the same frames; what is known of it if it is not there."""
    if not _has_fingerprint(path, film):
        return known
    lossless = known is not None and known.ending == ".png"
    try:
        return cut_film(path, film.id, film.bytes, film.every, frames, lossless)
    except DataError:
        return known


def _count_new_films(
    known: Sequence[Film], found: Sequence[FoundFile], root: Path
) -> tuple[dict[str, int], list[str]]:
    """How many frames new films have, by name; with remarks about those that cannot be read, and about copies."""
    remarks = []
    originals = {(film.bytes, film.digest): film.id for film in known}
    counts: dict[str, int] = {}
    for file in found:
        try:
            fingerprint = (file.bytes, compute_fingerprint(root / file.name))
            if fingerprint in originals:
                original = originals[fingerprint]
                remarks.append(f"film {file.name} has the same content as {original}; it is not cut a second time")
                continue
            counts[file.name] = count_frames(root / file.name)
            originals[fingerprint] = file.name
        except DataError as error:
            remarks.append(str(error))
    return counts, remarks


def _describe_new_film(film: CutFilm) -> list[str]:
    remarks = [film.problem] if film.problem else []
    if film.has_variable_rate:
        remarks.append(
            f"film {film.id} has a variable frame rate: its frames are counted from the beginning, and tools that "
            "seek in it show others"
        )
    return remarks
