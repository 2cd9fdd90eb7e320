"""Frames of films as files: every film is read once, from its beginning to its end.

Frames are never sought: in films of variable rate, most seeks give another frame. A frame's number is how many
frames came before it.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.project.image_content import QUALITY, make_thumbnail, write_encoded
from llpp.errors import ConfigError, DataError
from llpp.files import read_start, read_text, replace_text

log = logging.getLogger(__name__)
FINGERPRINT_BYTES = 1 << 20
FACTS = "film.json"  # next to a film's frames, written when all of them are there
MAX_FACT_BYTES = 1 << 26
LEAST_DIFFERENCE = 2.0  # grey levels, on average: frames that differ less from the last one are not cut
# Steps between frames of a constant rate are equal but for rounding to milliseconds.
STEP_TOLERANCE = 2.0  # milliseconds
STEP_SHARE = 0.1
PLAYLISTS = (b"#EXTM3U", b"ffconcat")
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class CutFilm:
    """A film whose frames are files."""

    id: str  # path below the root when it was first found
    bytes: int
    digest: str  # SHA-256 of the first MiB
    frames: int  # that it has
    seconds: float  # that it lasts
    has_variable_rate: bool
    every: int  # each so many frames, one may be cut
    ending: str  # of the files: .jpg or .png
    numbers: Sequence[int]  # of the frames that are cut
    times: Sequence[float]  # of these, in seconds
    problem: str = ""  # that it ends early, in words

    def list_files(self) -> list[str]:
        """The files of the frames, below the folder of all frames."""
        return [name_frame_file(self.id, number, self.ending) for number in self.numbers]


def name_frame(film: str, number: int) -> str:
    """The id of a frame."""
    return f"{film}#{number:06d}"


def name_frame_file(film: str, number: int, ending: str) -> str:
    """The file of a frame, below the folder of all frames."""
    return f"{film}/{number:06d}{ending}"


def compute_fingerprint(path: Path) -> str:
    """SHA-256 of a film's first MiB.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return hashlib.sha256(read_start(path, FINGERPRINT_BYTES)).hexdigest()
    except OSError as error:
        raise DataError(f"film {path} cannot be read ({error.strerror})") from error


def count_frames(path: Path) -> int:
    """How many frames a film has, as it says itself; counted if it says nothing.

    Raises:
        DataError: it cannot be read, or has no frame.
    """
    capture = _open_film(path)
    try:
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # A damaged header may say anything, but no frame takes less than a byte.
        if 0 < stated <= path.stat().st_size:
            return int(stated)
        count = 0
        while capture.grab():
            count += 1
    finally:
        capture.release()
    if not count:
        raise DataError(f"film {path} has no frame that can be decoded; convert it to H.264 in an .mp4 file")
    return count


def read_rate(path: Path) -> float:
    """Frames per second, as a film says itself; 0 if it says nothing. DataError: it cannot be opened."""
    capture = _open_film(path)
    try:
        return max(float(capture.get(cv2.CAP_PROP_FPS)), 0.0)
    finally:
        capture.release()


def choose_every(counts: Sequence[int], most: int, every: int | None) -> int:
    """Each how many frames one may be cut, so that films with so many frames give at most `most`.

    Raises:
        ConfigError: `every` is given, and gives more.
    """
    if every is not None:
        wanted = _count_candidates(counts, every)
        if wanted > most:
            raise ConfigError(
                f"dataset.every={every} may cut {wanted:,} frames, and {most:,} of dataset.frames are left; set "
                f"dataset.every=null, or dataset.frames to {wanted:,} more than are cut already"
            )
        return every
    chosen = min(max(1, math.ceil(sum(counts) / most)), max(counts))
    # Every film's first frame is cut, so that more films give a few frames more than their sum does.
    while _count_candidates(counts, chosen) > most and chosen < max(counts):
        chosen += 1
    return chosen


def _count_candidates(counts: Sequence[int], every: int) -> int:
    return sum(math.ceil(count / every) for count in counts)


def cut_film(path: Path, film: str, size: int, every: int, frames: Path, lossless: bool) -> CutFilm:
    """Cut frames of a film into files below the folder `frames`, or find that this has been done.

    `film.json` is written last. After an interruption the same call cuts the same frames again.

    Args:
        path: the film.
        film: its id.
        size: bytes of the file.
        every: each so many frames, one may be cut; those that look like the last one are passed over.
        frames: the folder of all frames.
        lossless: PNG instead of JPEG.

    Raises:
        DataError: the film cannot be read, or has no frame.
    """
    digest = compute_fingerprint(path)
    known = read_facts(film, frames)
    if (
        known is not None
        and (known.bytes, known.digest, known.every) == (size, digest, every)
        and is_cut(known, frames)
    ):
        return known
    ending = ".png" if lossless else ".jpg"
    log.info("cutting frames of %s", path)
    numbers: list[int] = []
    times: list[float] = []
    all_times: list[float] = []
    last: Frame | None = None
    for number, time, image in read_frames(path, every):
        all_times.append(time)
        if image is None:
            continue
        thumbnail = make_thumbnail(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8))
        if last is not None and _measure_difference(thumbnail, last) < LEAST_DIFFERENCE:
            continue
        last = thumbnail
        parameters = [] if lossless else QUALITY
        write_encoded(frames / name_frame_file(film, number, ending), ending, image, parameters)
        numbers.append(number)
        times.append(time)
    if not numbers:
        raise DataError(f"film {path} has no frame that can be decoded; convert it to H.264 in an .mp4 file")
    result = CutFilm(
        id=film,
        bytes=size,
        digest=digest,
        frames=len(all_times),
        seconds=_compute_length(all_times),
        has_variable_rate=has_variable_rate(all_times),
        every=every,
        ending=ending,
        numbers=numbers,
        times=times,
        problem=describe_end(path, len(all_times)),
    )
    replace_text(frames / film / FACTS, json.dumps(asdict(result), ensure_ascii=False))
    return result


def _measure_difference(one: Frame, other: Frame) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


def read_frames(path: Path, every: int, start: int = 0) -> Iterator[tuple[int, float, Frame | None]]:
    """Number, seconds and, of each `every`-th one from `start` on, pixels (H, W, 3) BGR, of all frames in order.

    Raises:
        DataError: the film cannot be opened.
    """
    capture = _open_film(path)
    try:
        number = 0
        while capture.grab():
            time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            image = None
            if number >= start and number % every == 0:
                done, image = capture.retrieve()
                if not done:
                    image = None
            yield number, time, image
            number += 1
    finally:
        capture.release()


def _open_film(path: Path) -> Any:
    """Open a film; DataError if that is impossible. A playlist, which may name any other file, is no film."""
    try:
        start = read_start(path, 16)
    except OSError as error:
        raise DataError(f"film {path} cannot be read ({error.strerror})") from error
    if not start.startswith(PLAYLISTS):
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if capture.isOpened():
            return capture
    raise DataError(f"film {path} cannot be opened: it is damaged or no film; convert it to H.264 in an .mp4 file")


def has_variable_rate(times: Sequence[float]) -> bool:
    """Whether the steps between frames at these times, in seconds, differ by more than rounding."""
    steps = np.diff(np.asarray(times)) * 1000
    if len(steps) == 0:
        return False
    usual = float(np.median(steps))
    tolerance = max(STEP_TOLERANCE, STEP_SHARE * usual)
    return bool((np.abs(steps - usual) > tolerance).any())


def _compute_length(times: Sequence[float]) -> float:
    """Seconds from the first frame to the end of the last one."""
    if len(times) == 1:
        return 0.0
    return times[-1] - times[0] + float(np.median(np.diff(np.asarray(times))))


def describe_end(path: Path, count: int) -> str:
    """Say in one sentence that a film has ended after `count` frames, if it should have more; else nothing."""
    stated = count_frames(path)
    if count >= stated:
        return ""
    return f"film {path} ends after {count:,} of the {stated:,} frames that it should have; they are used"


def read_facts(film: str, frames: Path) -> CutFilm | None:
    """What is known about a film that has been cut; None if it has not, or not to its end."""
    try:
        content = json.loads(read_text(frames / film / FACTS, MAX_FACT_BYTES))
        known = CutFilm(**content)
        is_sound = known.id == film and len(known.numbers) == len(known.times) > 0
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return known if is_sound else None


def is_cut(film: CutFilm, frames: Path) -> bool:
    """Whether all files of a film's frames are there."""
    return all((frames / name).is_file() for name in film.list_files())
