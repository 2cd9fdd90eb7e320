"""Predictions drawn on the images: a picture for each image, a film for each film.

The images are read a second time, when it is known which predictions are flagged.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import Skeleton
from llpp.datasets.project.films import read_rate
from llpp.datasets.project.image_content import QUALITY, write_encoded
from llpp.errors import DataError
from llpp.files import read_text, replace_text
from llpp.prediction.failure_flags import CHECK, OK, UNKNOWN, FailureFlags
from llpp.prediction.predictor import ModelFacts
from llpp.prediction.result_tables import Persons, judge_persons
from llpp.prediction.shards import PredictedPerson
from llpp.prediction.sources import ImageReader, Source, read_source
from llpp.tasks.pose.drawing import CASING_COLOUR, colour_limbs, draw_dot, draw_limbs, get_joint_colours

FOLDER = "overlay"
SETTINGS = "overlay.json"
MAX_SIDE = 1600  # pixels of a picture's longer side: larger images are shrunk
MIN_SIDE = 320  # smaller ones are enlarged, because joints and words would cover them
FLAG_COLOURS = {OK: (0, 158, 115), CHECK: (213, 94, 0), UNKNOWN: (150, 150, 150)}  # RGB
DEFAULT_RATE = 25.0  # frames per second, of films that do not say theirs
Pixels = NDArray[np.uint8]
Report = Callable[[int], None]


@dataclass(frozen=True)
class JudgedPerson:
    """A prediction with its flag."""

    person: PredictedPerson
    probability: float  # of failure; NaN where it is unknown
    flag: str


class PersonQueue:
    """Predictions in order, taken image by image."""

    def __init__(self, parts: Iterable[Persons], flags: FailureFlags) -> None:
        self._persons = judge_all(parts, flags)
        self._next = next(self._persons, None)

    def take(self, source: int, frame: int) -> list[JudgedPerson]:
        """The predictions of an image; those of earlier ones are dropped."""
        found = []
        while self._next is not None:
            place = (self._next.person.source, self._next.person.frame)
            if place > (source, frame):
                break
            if place == (source, frame):
                found.append(self._next)
            self._next = next(self._persons, None)
        return found


def judge_all(parts: Iterable[Persons], flags: FailureFlags) -> Iterator[JudgedPerson]:
    """Yield all predictions, one by one, with what is said about them."""
    for persons in parts:
        probability, words = judge_persons(persons, flags)
        for person, chance, word in zip(persons, probability.tolist(), words, strict=True):
            yield JudgedPerson(person, chance, word)


def write_overlays(
    folder: Path,
    sources: Sequence[Source],
    parts: Iterable[Persons],
    facts: ModelFacts,
    flags: FailureFlags,
    report: Report,
) -> Path:
    """Draw what is not drawn yet, and return the folder of pictures and films; `report` gets how many are done."""
    target = folder / FOLDER
    _drop_outdated(target, flags)
    queue = PersonQueue(parts, flags)
    skeleton = Skeleton(facts.joints, facts.flip_pairs, facts.edges, ())
    reader = ImageReader(facts.upright, facts.white, facts.background)
    for position, source in enumerate(sources):
        path = target / f"{source.name}{'.mp4' if source.is_film else '.jpg'}"
        if not path.is_file():
            if source.is_film:
                _write_film(path, source, position, reader, queue, skeleton)
            else:
                _write_picture(path, source, position, reader, queue, skeleton)
        report(position + 1)
    return target


def _drop_outdated(target: Path, flags: FailureFlags) -> None:
    """Remember what the pictures show; those of another promise have other flags and are drawn again."""
    path = target / SETTINGS
    wanted = {"llpp_overlay": 1, "promise": flags.sentence}
    try:
        is_same = json.loads(read_text(path, 1 << 16)) == wanted
    except (OSError, ValueError):
        is_same = False
    if is_same:
        return
    for folder, _, names in os.walk(target):
        for name in names:
            if name.endswith((".jpg", ".mp4")):
                Path(folder, name).unlink()
    replace_text(path, json.dumps(wanted, ensure_ascii=False))


def _write_picture(
    path: Path, source: Source, position: int, reader: ImageReader, queue: PersonQueue, skeleton: Skeleton
) -> None:
    for frame in read_source(source, reader):
        if frame.pixels is None:
            return
        picture = draw_overlay(frame.pixels, queue.take(position, frame.number), skeleton)
        write_encoded(path, ".jpg", np.ascontiguousarray(picture[..., ::-1]), QUALITY)


def _write_film(
    path: Path, source: Source, position: int, reader: ImageReader, queue: PersonQueue, skeleton: Skeleton
) -> None:
    """Frames that cannot be read are left out. The film appears under its name when it is complete."""
    part = path.with_name(f".part.{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    writer: Any = None
    try:
        for frame in read_source(source, reader):
            if frame.pixels is None:
                continue
            picture = draw_overlay(frame.pixels, queue.take(position, frame.number), skeleton)
            if writer is None:
                writer = _open_writer(part, read_rate(source.path), picture)
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
    finally:
        if writer is not None:
            writer.release()
    if writer is not None:
        part.replace(path)


def _open_writer(path: Path, rate: float, picture: Pixels) -> Any:
    height, width = picture.shape[:2]
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), fourcc, rate or DEFAULT_RATE, (width, height))
    if not writer.isOpened():
        raise DataError(f"film {path} cannot be written by OpenCV; leave out --overlay, or check the disk")
    return writer


def draw_overlay(image: Pixels, persons: Sequence[JudgedPerson], skeleton: Skeleton) -> Pixels:
    """Draw the poses of an image (H, W, 3) RGB, and around each person the colour of its flag.

    Returns:
        An image of even sides, as films need, whose longer one has from MIN_SIDE to MAX_SIDE pixels.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, MIN_SIDE), MAX_SIDE) / longer
    sides = (max(int(width * scale) // 2 * 2, 2), max(int(height * scale) // 2 * 2, 2))
    # Not the same as `scale` where a side was odd.
    factors = np.array([sides[0] / width, sides[1] / height])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(image, sides, interpolation=method), dtype=np.uint8)
    limbs = colour_limbs(skeleton)
    colours = get_joint_colours(skeleton)
    for judged in persons:
        # Pixel centres are at integers, so that the image's corner is at -0.5.
        points = (judged.person.joints + 0.5) * factors - 0.5
        _draw_flag(picture, judged, factors)
        draw_limbs(picture, points, limbs, 3)
        for point, colour in zip(points, colours, strict=True):
            draw_dot(picture, point, colour)
    return picture


def _draw_flag(picture: Pixels, judged: JudgedPerson, factors: NDArray[np.float64]) -> None:
    """A frame around the person's box, or the image, and the words above it."""
    height, width = picture.shape[:2]
    left, top, right, bottom = 0, 0, width - 1, height - 1
    x, y, box_width, box_height = judged.person.box
    if np.isfinite([x, y, box_width, box_height]).all():
        left, top = (np.array([x, y]) * factors).round().astype(int).tolist()
        right, bottom = (np.array([x + box_width, y + box_height]) * factors).round().astype(int).tolist()
    colour = FLAG_COLOURS[judged.flag]
    canvas: Any = picture
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 3)
    words = f"{judged.flag} {judged.person.failure_score:.3g}"
    if np.isfinite(judged.probability):
        words = f"{judged.flag}, failure {judged.probability:.0%}"
    place = (left + 6, top + 20)
    cv2.putText(canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, CASING_COLOUR, 4, cv2.LINE_AA)
    cv2.putText(canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
