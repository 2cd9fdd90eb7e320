"""Bring what is known about a project's images up to date with the files as they are now."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pixel_format import PixelFormat
from llpp.datasets.project.films import CutFilm, name_frame
from llpp.datasets.project.folder_content import FoundFile
from llpp.datasets.project.image_content import (
    NO_DIGEST,
    ImageContent,
    name_upright_copy,
    read_content,
    write_upright_copy,
)
from llpp.datasets.project.index import CONDITIONS, THUMBNAIL, ProjectIndex
from llpp.errors import DataError
from llpp.journal.folder import LabellingFolder

BLANK = np.zeros((THUMBNAIL, THUMBNAIL), dtype=np.uint8)
MAX_EXAMPLES = 3
MANY = 1000  # images that take seconds to read
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageRow:
    """One image of the index, without what follows from its group. See `ProjectIndex` for the columns."""

    id: str
    file: str
    is_own: bool
    found: str
    bytes: int
    changed_ns: int
    digest: int
    width: int
    height: int
    condition: str = "ok"  # one of CONDITIONS
    problem: str = ""
    film: str = ""
    frame: int = -1
    seconds: float = float("nan")
    thumbnail: NDArray[np.uint8] = field(default_factory=lambda: BLANK)


@dataclass(frozen=True)
class Reader:
    """Reads files of a project."""

    root: Path
    folder: LabellingFolder
    pixels: PixelFormat
    accept_changed: bool  # whether an image whose content has changed is taken as it is now

    def read_all(self, paths: Sequence[Path]) -> list[ImageContent]:
        """Read files in threads."""
        if len(paths) >= MANY:
            log.info("reading %s images", f"{len(paths):,}")
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda path: read_content(path, self.pixels), paths))

    def locate(self, row: ImageRow) -> Path:
        """The file of an image's pixels."""
        return (self.folder.path if row.is_own else self.root) / row.file


def list_rows(index: ProjectIndex | None) -> list[ImageRow]:
    """The rows of an index, where an image is as its files were: what is apart follows from its group."""
    if index is None:
        return []
    columns = zip(
        index.ids,
        index.files,
        index.is_own.tolist(),
        index.found,
        index.bytes.tolist(),
        index.changed_ns.tolist(),
        index.digest.tolist(),
        index.width.tolist(),
        index.height.tolist(),
        index.condition.tolist(),
        index.problem,
        index.film,
        index.frame.tolist(),
        index.seconds.tolist(),
        index.thumbnail,
        strict=True,
    )
    rows = []
    for id_, file, is_own, found, size, changed, digest, width, height, place, problem, film, *rest in columns:
        frame, seconds, thumbnail = rest
        condition = CONDITIONS[place]
        if condition == "apart":
            condition = "ok"
            problem = ""
        row = ImageRow(
            id=id_,
            file=file,
            is_own=is_own,
            found=found,
            bytes=size,
            changed_ns=changed,
            digest=digest,
            width=width,
            height=height,
            condition=condition,
            problem=problem,
            film=film,
            frame=frame,
            seconds=seconds,
            thumbnail=thumbnail,
        )
        rows.append(row)
    return rows


def update_images(
    known: Sequence[ImageRow], found: Sequence[FoundFile], reader: Reader
) -> tuple[list[ImageRow], list[str]]:
    """Return the rows of all images that are no frames, and remarks.

    A file with the size and time that it had is not read again. One that is read is the image that had this content,
    wherever that was; so images keep their ids when files are renamed, or even exchange their names. Without such an
    image, it is the changed content of the image that was in its place, or a new image.
    """
    # A missing image may have been where another one is by now: the one that is there comes last and counts.
    rows_by_place = {row.found: row for row in sorted(known, key=lambda row: row.condition != "missing")}
    result: dict[str, ImageRow] = {}
    to_read: list[FoundFile] = []
    for file in found:
        row = rows_by_place.get(file.name)
        if row is not None and _is_unchanged(row, file, reader):
            result[row.id] = row
        else:
            to_read.append(file)
    contents = reader.read_all([reader.root / file.name for file in to_read])

    # Images that are not where they were, or not with the content that they had, by that content.
    displaced: dict[int, list[ImageRow]] = {}
    for row in reversed(known):
        if row.id not in result and row.digest != NO_DIGEST:
            displaced.setdefault(row.digest, []).append(row)
    renamed: list[tuple[str, str]] = []
    unassigned: list[tuple[FoundFile, ImageContent]] = []
    for file, content in _order_by_place(to_read, contents, rows_by_place):
        row = _take_row(displaced.get(content.digest, []), file.name)
        if row is None:
            unassigned.append((file, content))
            continue
        if row.found != file.name:
            renamed.append((row.found, file.name))
        result[row.id] = _adopt(row, file, content, reader)
    ids = {row.id for row in known}
    for file, content in unassigned:
        row = rows_by_place.get(file.name)
        if row is None or row.id in result:
            row = _make_row(choose_id(file.name, ids), file)
            ids.add(row.id)
            result[row.id] = _adopt(row, file, content, reader)
        else:
            result[row.id] = _accept_or_refuse(row, file, content, reader)
    for row in known:
        if row.id not in result:
            result[row.id] = replace(row, condition="missing", problem=f"{reader.root / row.found} is missing")
    return list(result.values()), _describe_renamed(renamed)


def _is_unchanged(row: ImageRow, file: FoundFile, reader: Reader) -> bool:
    """Whether a row says all about a file without reading it. Few are changed or unreadable: these are read."""
    is_same = (row.bytes, row.changed_ns) == (file.bytes, file.changed_ns)
    is_complete = not row.is_own or reader.locate(row).is_file()
    return is_same and row.condition == "ok" and is_complete


def _order_by_place(
    files: Sequence[FoundFile], contents: Sequence[ImageContent], rows_by_place: Mapping[str, ImageRow]
) -> list[tuple[FoundFile, ImageContent]]:
    """Files with their contents, first those that are where an image of this content was: copies come later."""

    def is_elsewhere(pair: tuple[FoundFile, ImageContent]) -> bool:
        row = rows_by_place.get(pair[0].name)
        return row is None or row.digest != pair[1].digest

    return sorted(zip(files, contents, strict=True), key=is_elsewhere)


def _take_row(candidates: list[ImageRow], place: str) -> ImageRow | None:
    """Take the row of a file out of those with its content: the one that was in its place, or the first."""
    for number, row in enumerate(candidates):
        if row.found == place:
            return candidates.pop(number)
    return candidates.pop() if candidates else None


def choose_id(name: str, ids: set[str]) -> str:
    """The id of a new image or film: its path, with a number if one that is elsewhere by now has it."""
    path = PurePosixPath(name)
    candidate = name
    number = 1
    while candidate in ids:
        number += 1
        candidate = str(path.with_name(f"{path.stem}~{number}{path.suffix}"))
    return candidate


def _make_row(id_: str, file: FoundFile) -> ImageRow:
    return ImageRow(id_, file.name, False, file.name, file.bytes, file.changed_ns, NO_DIGEST, 0, 0)


def _adopt(row: ImageRow, file: FoundFile, content: ImageContent, reader: Reader) -> ImageRow:
    """The row of an image whose content this is."""
    row = replace(
        row,
        file=row.file if row.is_own else file.name,
        found=file.name,
        bytes=file.bytes,
        changed_ns=file.changed_ns,
        digest=content.digest,
        condition="unreadable" if content.problem else "ok",
        problem=content.problem,
    )
    if content.problem:
        return row
    row = replace(row, width=content.width, height=content.height, thumbnail=content.thumbnail)
    if content.orientation == 1:
        return replace(row, is_own=False, file=file.name)
    copy = Path("upright") / name_upright_copy(row.id)
    try:
        write_upright_copy(reader.root / file.name, content.orientation, reader.folder.path / copy)
    except DataError as error:
        return replace(row, condition="unreadable", problem=str(error))
    return replace(row, is_own=True, file=copy.as_posix())


def _accept_or_refuse(row: ImageRow, file: FoundFile, content: ImageContent, reader: Reader) -> ImageRow:
    """The row of an image in whose place there is another content by now."""
    was_never_readable = row.width == 0
    if content.problem:
        if was_never_readable:
            return _adopt(row, file, content, reader)
        return replace(
            row, bytes=file.bytes, changed_ns=file.changed_ns, condition="unreadable", problem=content.problem
        )
    if was_never_readable or reader.accept_changed:
        return _adopt(row, file, content, reader)
    return replace(
        row,
        bytes=file.bytes,
        changed_ns=file.changed_ns,
        condition="changed",
        problem=(
            f"{reader.root / file.name} has another content than when it was found ({content.width} × "
            f"{content.height} pixels by now); put the old file back, or give llpp label the setting "
            "label.changed=accept"
        ),
    )


def _describe_renamed(renamed: Sequence[tuple[str, str]]) -> list[str]:
    if not renamed:
        return []
    examples = ", ".join(f"{old} → {new}" for old, new in sorted(renamed)[:MAX_EXAMPLES])
    more = ", …" if len(renamed) > MAX_EXAMPLES else ""
    what = (
        "1 image has another name by now and keeps its"
        if len(renamed) == 1
        else (f"{len(renamed):,} images have other names by now and keep their")
    )
    return [f"{what} id and labels: {examples}{more}"]


def update_frames(
    known: Sequence[ImageRow], films: Sequence[CutFilm], places: Mapping[str, str], reader: Reader
) -> list[ImageRow]:
    """Return the rows of all frames: those of `films`, and known ones of films of which nothing else is known.

    `places` are the paths of films by now; frames are labelled in files of their own, whether their film is there or
    not.
    """
    rows_by_id = {row.id: row for row in known}
    rows = []
    for film in films:
        for number, seconds, file in zip(film.numbers, film.times, film.list_files(), strict=True):
            row = rows_by_id.pop(name_frame(film.id, number), None)
            if row is None:
                row = ImageRow(
                    id=name_frame(film.id, number),
                    file=f"frames/{file}",
                    is_own=True,
                    found=film.id,
                    bytes=0,
                    changed_ns=0,
                    digest=NO_DIGEST,
                    width=0,
                    height=0,
                    film=film.id,
                    frame=number,
                    seconds=seconds,
                )
            rows.append(replace(row, found=places.get(film.id, row.found)))
    return _update_own_files([*rows, *rows_by_id.values()], reader)


def _update_own_files(rows: Iterable[ImageRow], reader: Reader) -> list[ImageRow]:
    """Rows of files that llpp has made, as these are now."""
    result: list[ImageRow] = []
    to_read: list[tuple[ImageRow, FoundFile]] = []
    for row in rows:
        try:
            status = reader.locate(row).stat()
        except OSError:
            result.append(replace(row, condition="missing", problem=f"{reader.locate(row)} is missing"))
            continue
        file = FoundFile(row.found, status.st_size, status.st_mtime_ns)
        is_same = (row.bytes, row.changed_ns) == (file.bytes, file.changed_ns)
        if is_same and row.condition == "ok":
            result.append(row)
        else:
            to_read.append((row, file))
    contents = reader.read_all([reader.locate(row) for row, _ in to_read])
    for (row, file), content in zip(to_read, contents, strict=True):
        is_as_cut = row.width == 0 or content.digest == row.digest
        is_accepted = reader.accept_changed and not content.problem
        if is_as_cut or is_accepted:
            result.append(_adopt_frame(row, file, content))
        else:
            problem = content.problem or f"{reader.locate(row)} is not what was cut from the film"
            condition = "unreadable" if content.problem else "changed"
            result.append(replace(row, condition=condition, problem=problem))
    return result


def _adopt_frame(row: ImageRow, file: FoundFile, content: ImageContent) -> ImageRow:
    return replace(
        row,
        bytes=file.bytes,
        changed_ns=file.changed_ns,
        digest=content.digest,
        width=content.width,
        height=content.height,
        thumbnail=content.thumbnail,
        condition="unreadable" if content.problem else "ok",
        problem=content.problem,
    )
