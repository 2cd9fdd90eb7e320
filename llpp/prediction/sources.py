"""The images and films that a command names, and their frames one after the other.

A name is a path below the folder that all inputs share, with / between its parts; a frame's is `clip.mp4#000123`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.image_header import parse_header
from llpp.datasets.images import FIRST_BYTES, Reading, read_image
from llpp.datasets.pixel_format import PixelFormat
from llpp.datasets.project.films import count_frames, describe_end, name_frame, read_frames
from llpp.datasets.project.folder_content import FILM_ENDINGS, IMAGE_ENDINGS, is_printable, list_folder
from llpp.errors import DataError
from llpp.files import read_start

# Larger images would take more than 400 MB, and what they show is no single person.
MAX_PIXELS = 1 << 27
MIN_SIDE = 8  # pixels: smaller images show nothing


@dataclass(frozen=True)
class Source:
    """An image or a film."""

    name: str
    path: Path
    is_film: bool
    bytes: int


@dataclass(frozen=True)
class Frame:
    """One image, or one frame of a film."""

    id: str
    number: int  # in its film; 0 of an image
    pixels: NDArray[np.uint8] | None  # (H, W, 3) RGB; None: it cannot be read
    problem: str = ""  # why not; or what is wrong with a film, of a frame that does not exist


@dataclass(frozen=True)
class ImageReader:
    """How files become pixels: as the model has learned them."""

    upright: bool
    white: int | None
    background: tuple[int, int, int] | None

    def read(self, path: Path) -> NDArray[np.uint8]:
        """(H, W, 3) RGB; DataError for a file that cannot be read, or whose size is beyond the limits."""
        self._check_header(path)
        reading = Reading("upright" if self.upright else "file")
        pixels = read_image(path, reading, pixels=PixelFormat(self.white, self.background))
        height, width = pixels.shape[:2]
        check_size(f"image {path}", width, height)
        return pixels

    def _check_header(self, path: Path) -> None:
        """Refuse a huge image before it takes the memory."""
        try:
            header = parse_header(read_start(path, FIRST_BYTES))
        except OSError:
            # The reader has the sentence for it.
            return
        if header is not None:
            check_size(f"image {path}", header.width, header.height)


def check_size(what: str, width: int, height: int) -> None:
    """Raise DataError about an image that is too small or too large."""
    if min(width, height) < MIN_SIDE:
        raise DataError(
            f"{what} has {width} × {height} pixels, too few to show anything; expected {MIN_SIDE} × {MIN_SIDE} or "
            "more"
        )
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{what} has {width:,} × {height:,} pixels, more than the {MAX_PIXELS:,} that are read; shrink it, or "
            "cut it into parts"
        )


def find_sources(inputs: Sequence[str], out: Path) -> tuple[list[Source], list[str]]:
    """Find the images and films that are named, or are in folders that are.

    Args:
        inputs: files and folders.
        out: where results are written; what is in it is no input.

    Returns:
        The sources, each once, and sentences about what is left out.

    Raises:
        DataError: an input is missing, or neither image nor film; or there are none at all.
    """
    remarks: list[str] = []
    roots = []
    files = []
    for given in inputs:
        path = Path(given).absolute()
        if path.is_dir():
            root = path.resolve()
            roots.append(root)
            content = list_folder(root, out.resolve())
            remarks += content.remarks
            files += [(root / found.name, False, found.bytes) for found in content.images]
            files += [(root / found.name, True, found.bytes) for found in content.films]
            continue
        if not is_printable(path.name):
            raise DataError(f"the name {path.name!a} is no printable UTF-8 text; rename that file")
        if not path.is_file():
            raise DataError(f"there is no file or folder {given}; give images, films, or a folder of them")
        is_film = path.suffix.lower() in FILM_ENDINGS
        if not is_film and path.suffix.lower() not in IMAGE_ENDINGS:
            expected = ", ".join(ending.removeprefix(".") for ending in (*IMAGE_ENDINGS, *FILM_ENDINGS))
            raise DataError(f"{given} is neither an image nor a film; expected a file that ends in {expected}")
        # Only its folder without links: where the file itself is one, its name is the one that was given.
        path = path.parent.resolve() / path.name
        roots.append(path.parent)
        files.append((path, is_film, path.stat().st_size))
    if not files:
        raise DataError(
            f"there is no image and no film in {', '.join(inputs)}; give images, films, or a folder of them"
        )
    base = Path(os.path.commonpath(roots))
    sources: dict[str, Source] = {}
    for path, is_film, size in files:
        name = path.relative_to(base).as_posix()
        sources.setdefault(name, Source(name, path, is_film, size))
    return list(sources.values()), remarks


def count_all_frames(sources: Sequence[Source]) -> int:
    """How many images and frames there are to predict; a film that cannot be read counts as none."""
    total = 0
    for source in sources:
        if not source.is_film:
            total += 1
            continue
        try:
            total += count_frames(source.path)
        except DataError:
            continue
    return total


def read_source(source: Source, reader: ImageReader, start: int = 0) -> Iterator[Frame]:
    """The frames of a source from number `start` on, in order; those that cannot be read have a problem instead."""
    if not source.is_film:
        if start == 0:
            yield _read_one(source, reader)
        return
    count = 0
    try:
        for number, _, image in read_frames(source.path, 1, start):
            count = number + 1
            if number >= start:
                yield _make_frame(source, number, image)
    except DataError as error:
        yield Frame(source.name, count, None, str(error))
        return
    problem = f"film {source.path} has no frame that can be decoded; convert it to H.264 in an .mp4 file"
    if count:
        problem = describe_end(source.path, count)
    # After an interruption, the end may have been reported already.
    if problem and count >= start:
        yield Frame(source.name, count, None, problem)


def _read_one(source: Source, reader: ImageReader) -> Frame:
    try:
        return Frame(source.name, 0, reader.read(source.path))
    except DataError as error:
        return Frame(source.name, 0, None, str(error))
    except MemoryError:
        return Frame(source.name, 0, None, f"image {source.path} is larger than the memory; shrink it")


def _make_frame(source: Source, number: int, image: NDArray[np.uint8] | None) -> Frame:
    name = name_frame(source.name, number)
    if image is None:
        return Frame(name, number, None, f"frame {number} of film {source.path} cannot be decoded")
    height, width = image.shape[:2]
    try:
        check_size(f"frame {number} of film {source.path}", width, height)
    except DataError as error:
        return Frame(name, number, None, str(error))
    return Frame(name, number, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8))
