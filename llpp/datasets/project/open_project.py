"""Open a project: decide what has to stay at the first start, and find what is new at every one.

Only the starting process does this, before there are ranks.
"""

import fcntl
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.groups import assign_groups
from llpp.datasets.images import read_image
from llpp.datasets.pixel_format import PixelFormat, choose_pixel_format
from llpp.datasets.project.boxes import IMAGE, update_boxes
from llpp.datasets.project.film_list import CutOptions, update_films
from llpp.datasets.project.films import CutFilm
from llpp.datasets.project.folder_content import FILM_ENDINGS, IMAGE_ENDINGS, FolderContent, list_folder
from llpp.datasets.project.image_content import NO_DIGEST
from llpp.datasets.project.image_rows import ImageRow, Reader, list_rows, update_frames, update_images
from llpp.datasets.project.index import CONDITIONS, ProjectIndex, read_index, write_index
from llpp.datasets.project.project_file import Film, ProjectFile, read_project, write_project
from llpp.datasets.project.project_splits import (
    choose_cut,
    choose_segment,
    find_apart,
    find_segments,
    find_test_groups,
    name_segment,
)
from llpp.datasets.project.skeleton_file import read_joints
from llpp.errors import ConfigError, DataError, OccupiedError, expect
from llpp.files import NoLocksError, lock_file
from llpp.ids import Ids
from llpp.journal.folder import LabellingFolder

log = logging.getLogger(__name__)
AUTO = "auto"
EACH_IMAGE = "image"  # a group of its own
SEGMENT = 60.0  # seconds
LEAST_FOUND = 0.1  # of the images of a project that has moved, or of those that are there now if these are fewer
MIN_FOLDERS = 10  # of images, from which on a folder is taken for what belongs together
LOCK = "index.lock"
LOCK_TIMEOUT = 600.0  # seconds: films may have to be cut meanwhile
LOCK_INTERVAL = 0.05  # seconds
APART = "too near in time to a frame of another split"


@dataclass(frozen=True)
class ProjectOptions:
    """Settings of `dataset=project` that decide what a project is; see conf/dataset/project.yaml."""

    joints: str | Sequence[str] | None = None
    boxes: str | None = None
    group: str | None = AUTO
    segment: float | None = None
    frames: int = 5000
    every: int | None = None
    white: int | str | None = None
    background: Sequence[int] | str | None = None
    lossless: bool = False  # cut frames into PNGs
    accept_changed: bool = False  # take images whose content has changed as they are now

    def check(self) -> None:
        """Raise ConfigError about a value that is invalid."""
        is_text = self.boxes is None or (isinstance(self.boxes, str) and bool(self.boxes))
        expect(is_text, "dataset.boxes", self.boxes, "null, image, a COCO file of boxes, or onnx:MODEL")
        is_length = self.segment is None or (type(self.segment) in (int, float) and 0 < self.segment < math.inf)
        expect(is_length, "dataset.segment", self.segment, "null, or seconds above 0")
        expect(type(self.frames) is int and self.frames > 0, "dataset.frames", self.frames, "1 or more")
        is_every = self.every is None or (type(self.every) is int and self.every > 0)
        expect(is_every, "dataset.every", self.every, "null, or 1 or more")


def open_project(
    root: Path, folder: LabellingFolder, options: ProjectOptions
) -> tuple[ProjectFile, ProjectIndex, list[str]]:
    """Bring project.json and the index of a project up to date, and return them with remarks for the user.

    Frames of new films are cut, and images that their files have turned are copied upright. Interrupted, the same
    call continues with the same result.

    Raises:
        ConfigError: a setting is invalid, or differs from what the project was made with.
        DataError: there is no such folder, or nothing in it, or the folder of labels cannot be written.
        OccupiedError: another process does this at the moment, or the labels are those of another folder.
        StateError: project.json is damaged.
    """
    options.check()
    root = root.resolve()
    if folder.path.resolve() == root:
        raise ConfigError(
            f"dataset.labelling={folder.path} is the folder of the images, into which nothing is written; set it to "
            "another folder, which may be in this one"
        )
    content = list_folder(root, folder.path.resolve())
    try:
        folder.inbox.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            return _update_project(root, folder, options, content)
    except OSError as error:
        # The message of some libraries is a paragraph.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(
            f"{error.filename or folder.path} cannot be written ({reason}), and what is known about images is kept "
            "there; give permission or make room, or set dataset.labelling=… to another folder, such as a copy of it"
        ) from error


def _update_project(
    root: Path, folder: LabellingFolder, options: ProjectOptions, content: FolderContent
) -> tuple[ProjectFile, ProjectIndex, list[str]]:
    """Bring a project up to date with what is in its folder; see `open_project`."""
    known = read_project(folder.project_file)
    remarks = list(content.remarks)
    if known is None:
        project = _start_project(root, folder, options, content)
    else:
        project = known
        _check_settings(project, root, folder, options)
    index = read_index(folder.index)
    rows = list_rows(index)
    if known is not None and not rows:
        remarks.append(
            f"{folder.index} was missing or damaged and has been made again; images that were renamed or changed "
            "before are taken for new ones, or restore it from a backup"
        )
    if project.root != str(root):
        _check_new_place(project, root, folder, rows, content)
        remarks.append(f"the project's images were in {project.root} and are in {root} now")
        project = replace(project, root=str(root))
    cutting = CutOptions(options.frames, options.every, options.lossless)
    films, film_remarks = update_films(project.films, rows, content.films, root, folder.frames, cutting)
    remarks += film_remarks
    reader = Reader(root, folder, read_pixel_format(project.facts), options.accept_changed)
    images, image_remarks = update_images([row for row in rows if not row.film], content.images, reader)
    frames = update_frames([row for row in rows if row.film], films.cut, films.places, reader)
    remarks += image_remarks
    all_rows = sorted([*images, *frames], key=lambda row: row.id)
    if not all_rows:
        raise _make_empty_error(root, remarks)
    if known is None:
        grouping = _choose_grouping(project.grouping, [row.id for row in images])
        project = replace(project, grouping=grouping)
    project, segment_remarks = _add_films(project, films.cut, len(images))
    remarks += segment_remarks
    known_groups = {} if index is None else dict(zip(index.ids, index.group, strict=True))
    groups = _join_copies(all_rows, _assign_groups(project, all_rows), known_groups)
    if known is None:
        salt, cut = choose_cut(project.name, groups)
        project = replace(project, salt=salt, test_cut=cut)
    updated = _build_index(project, all_rows, groups)
    # Before a new project is written: a mistyped name of a file would otherwise be one of its decisions.
    facts, box_remarks = _find_boxes(project, updated, reader)
    remarks += box_remarks
    project = replace(project, facts={**project.facts, **facts})
    if project != known:
        write_project(project, folder.project_file)
    write_index(updated, folder.index)
    return project, updated, remarks


def _find_boxes(project: ProjectFile, index: ProjectIndex, reader: Reader) -> tuple[dict[str, Any], list[str]]:
    """Find the boxes of images that have none yet; return what project.json has to keep, and remarks."""

    def read_pixels(row: int) -> NDArray[np.uint8]:
        folder = reader.folder.path if index.is_own[row] else reader.root
        return read_image(folder / index.files[row], pixels=reader.pixels)

    return update_boxes(project.boxes, reader.root, reader.folder, index, read_pixels)


@contextmanager
def _lock(folder: LabellingFolder) -> Iterator[None]:
    """Hold the lock of a project's index, which the kernel releases when the process ends."""
    with (folder.path / LOCK).open("a", encoding="utf-8") as file:
        try:
            _wait_for_lock(file, folder)
        except NoLocksError:
            log.warning("%s: its storage has no file locks; start no second command in it", folder.path)
            yield
            return
        yield
        # Processes that were started meanwhile may have inherited the open file.
        fcntl.flock(file, fcntl.LOCK_UN)


def _wait_for_lock(file: TextIO, folder: LabellingFolder) -> None:
    """Take a lock; jobs of a sweep, and ranks of one that replays labels, open the same project at once.

    Raises:
        OccupiedError: another process has it for too long.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    is_said = False
    while True:
        try:
            lock_file(file)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise OccupiedError(
                    f"another process has been bringing {folder.index} up to date for {LOCK_TIMEOUT:g} s; wait for "
                    "its end, then run this command again"
                ) from error
        if not is_said:
            log.info("%s: waiting for another process that brings it up to date", folder.index)
            is_said = True
        time.sleep(LOCK_INTERVAL)


def _start_project(
    root: Path, folder: LabellingFolder, options: ProjectOptions, content: FolderContent
) -> ProjectFile:
    """What is decided before any image is read; splits follow when the groups are known."""
    joints = read_joints(options.joints, root, folder.inbox)
    names = [file.name for file in content.images]
    pixels, _ = choose_pixel_format(options.white, options.background, root, names)
    return ProjectFile(
        name=folder.path.name,
        root=str(root),
        joints=list(joints.names),
        edges=[list(edge) for edge in joints.edges],
        grouping=options.group or EACH_IMAGE,
        segment=SEGMENT if options.segment is None else float(options.segment),
        boxes=options.boxes or IMAGE,
        salt="",
        test_cut=0.0,
        facts=pixels.as_settings(),
    )


def _check_new_place(
    project: ProjectFile, root: Path, folder: LabellingFolder, rows: Sequence[ImageRow], content: FolderContent
) -> None:
    """Refuse the folder of another project: its images would be labelled by this one's, whose own were missing."""
    if Path(project.root).exists():
        raise OccupiedError(
            f"{folder.path} has the labels of {project.root}, not of {root}; set dataset.labelling=… to another "
            f"folder, or rename {project.root} if {root} has taken its place"
        )
    known = {(PurePosixPath(row.found).name, row.bytes) for row in rows if not row.film}
    known |= {(PurePosixPath(film.id).name, film.bytes) for film in project.films}
    found = {(PurePosixPath(file.name).name, file.bytes) for file in (*content.images, *content.films)}
    if len(known & found) < LEAST_FOUND * min(len(known), len(found)):
        raise OccupiedError(
            f"{folder.path} has the labels of {project.root}, which is not there, and hardly any file in {root} has "
            "the name and size of one of its images; set dataset.labelling=… to another folder, or put them back"
        )


def _check_settings(project: ProjectFile, root: Path, folder: LabellingFolder, options: ProjectOptions) -> None:
    """Refuse settings that differ from those of the project's start."""
    given: dict[str, tuple[Any, Any]] = {}
    if options.boxes is not None:
        given["boxes"] = (options.boxes, project.boxes)
    if options.segment is not None:
        given["segment"] = (float(options.segment), project.segment)
    if options.group != AUTO:
        given["group"] = (options.group or EACH_IMAGE, project.grouping)
    for name in ("white", "background"):
        value = getattr(options, name)
        if value is not None:
            given[name] = (value if isinstance(value, str | int) else list(value), project.facts.get(name))
    for name, (new, old) in given.items():
        if new != old:
            raise _make_difference_error(name, new, old, folder)
    if options.joints is not None:
        joints = read_joints(options.joints, root, folder.inbox)
        # Labels name their joints, so that another order is the same.
        if sorted(joints.names) != sorted(project.joints):
            raise _make_difference_error("joints", list(joints.names), list(project.joints), folder)


def _make_difference_error(name: str, new: object, old: object, folder: LabellingFolder) -> ConfigError:
    return ConfigError(
        f"dataset.{name}={new!r} differs from {old!r}, with which {folder.project_file} was made, and labels and "
        f"splits depend on it; leave it out, or begin another project with dataset.labelling=…"
    )


def read_pixel_format(facts: Mapping[str, Any]) -> PixelFormat:
    """The format that a project's facts stand for, see `PixelFormat.as_settings`."""
    white = facts.get("white")
    background = facts.get("background")
    return PixelFormat(
        white=white if type(white) is int else None,
        background=tuple(background) if isinstance(background, list | tuple) else None,
    )


def _add_films(project: ProjectFile, films: Sequence[CutFilm], image_count: int) -> tuple[ProjectFile, list[str]]:
    """Add the films that a project does not know yet, each with the length of its segments."""
    known = {film.id for film in project.films}
    new = [film for film in films if film.id not in known]
    segment = project.segment
    remarks = []
    if not known:
        segment = choose_segment(project.segment, [film.seconds for film in new], image_count)
    if segment != project.segment:
        remarks.append(
            f"one film of {new[0].seconds:.1f} s is all there is: it is cut into segments of {segment:.1f} s instead "
            f"of {project.segment:g}, each of them for training or for testing; their frames resemble each other, so "
            "add other films before you trust results"
        )
    added = []
    for film in new:
        added.append(
            Film(
                id=film.id,
                bytes=film.bytes,
                digest=film.digest,
                frames=film.frames,
                seconds=film.seconds,
                has_variable_rate=film.has_variable_rate,
                every=film.every,
                segment=segment,
            )
        )
    if not added:
        return project, remarks
    return replace(project, films=(*project.films, *added)), remarks


def _choose_grouping(group: str, images: Sequence[str]) -> str:
    """What `auto` stands for; ConfigError about a group that parts nothing."""
    if group == AUTO:
        folders = {image.rpartition("/")[0] for image in images}
        return "folder" if len(folders) >= MIN_FOLDERS else EACH_IMAGE
    if group != EACH_IMAGE:
        assign_groups(images, group)
    return group


def _assign_groups(project: ProjectFile, rows: Sequence[ImageRow]) -> list[str]:
    """The group of each row: of images by their id, of frames by their time."""
    images = [row.id for row in rows if not row.film]
    image_groups = dict(zip(images, images, strict=True))
    if images and project.grouping != EACH_IMAGE:
        image_groups = _group_images(images, project.grouping)
    segments = {film.id: film.segment for film in project.films}
    groups = []
    for row in rows:
        if not row.film:
            groups.append(image_groups[row.id])
            continue
        segment = segments.get(row.film, project.segment)
        number = int(find_segments(np.array([row.seconds]), segment)[0])
        groups.append(name_segment(row.film, number, segment))
    return groups


def _join_copies(rows: Sequence[ImageRow], groups: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """The groups of rows, where a copy of an image is in that image's group: it would be in two splits otherwise.

    Images that are known already keep their group, so that no copy which is found later moves them.
    """
    joined = list(groups)
    by_digest: dict[int, str] = {}
    places = [place for place, row in enumerate(rows) if not row.film and row.digest != NO_DIGEST]
    for place in sorted(places, key=lambda place: rows[place].id not in known):
        row = rows[place]
        if row.id in known:
            joined[place] = known[row.id]
        else:
            joined[place] = by_digest.get(row.digest, joined[place])
        by_digest.setdefault(row.digest, joined[place])
    return joined


def _group_images(images: Sequence[str], grouping: str) -> dict[str, str]:
    found = assign_groups(images, grouping) or list(images)
    return dict(zip(images, found, strict=True))


def _build_index(project: ProjectFile, rows: Sequence[ImageRow], groups: Sequence[str]) -> ProjectIndex:
    test_groups = find_test_groups(groups, project.salt, project.test_cut)
    conditions = [row.condition for row in rows]
    problems = [row.problem for row in rows]
    for film in project.films:
        places = [place for place, row in enumerate(rows) if row.film == film.id]
        times = np.array([rows[place].seconds for place in places], dtype=np.float64)
        apart = find_apart(film.id, times, film.segment, project.salt, project.test_cut)
        for place, is_apart in zip(places, apart.tolist(), strict=True):
            if is_apart and conditions[place] == "ok":
                conditions[place] = "apart"
                problems[place] = APART
    return ProjectIndex(
        ids=Ids(row.id for row in rows),
        files=Ids(row.file for row in rows),
        is_own=np.array([row.is_own for row in rows], dtype=np.bool_),
        found=Ids(row.found for row in rows),
        bytes=np.array([row.bytes for row in rows], dtype=np.int64),
        changed_ns=np.array([row.changed_ns for row in rows], dtype=np.int64),
        digest=np.array([row.digest for row in rows], dtype=np.uint64),
        width=np.array([row.width for row in rows], dtype=np.int32),
        height=np.array([row.height for row in rows], dtype=np.int32),
        condition=np.array([CONDITIONS.index(condition) for condition in conditions], dtype=np.uint8),
        problem=Ids(problems),
        group=Ids(groups),
        is_test=np.array([group in test_groups for group in groups], dtype=np.bool_),
        film=Ids(row.film for row in rows),
        frame=np.array([row.frame for row in rows], dtype=np.int64),
        seconds=np.array([row.seconds for row in rows], dtype=np.float64),
        thumbnail=np.stack([row.thumbnail for row in rows]),
    )


def _make_empty_error(root: Path, remarks: Sequence[str]) -> DataError:
    reasons = f" ({'; '.join(remarks)})" if remarks else ""
    endings = ", ".join((*IMAGE_ENDINGS, *FILM_ENDINGS))
    return DataError(f"{root} has no images and no films{reasons}; expected files that end in {endings}")
