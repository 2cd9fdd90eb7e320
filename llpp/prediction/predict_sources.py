"""The pass over all images: read, cut, predict, write shards."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llpp.data.person_crop import PersonCrop
from llpp.data.resampling import warp_image
from llpp.geometry import Matrix, move_points
from llpp.journal.answers import Box
from llpp.prediction.person_boxes import FileBoxes
from llpp.prediction.predictor import Predictor
from llpp.prediction.shards import Position, PredictedPerson, Shard, ShardFolder
from llpp.prediction.sources import Frame, ImageReader, Source, read_source

SHARD_SECONDS = 30.0  # what a kill may cost
SHARD_PERSONS = 4096
NO_BOX = (float("nan"),) * 4
Report = Callable[[int], None]  # called with how many images are done


@dataclass(frozen=True)
class _Crop:
    """A box of an image whose prediction is still to be made."""

    pixels: NDArray[np.uint8]
    matrix: Matrix  # image pixels → crop pixels
    image: str
    place: Position
    person: int
    size: tuple[int, int]
    box: Box


@dataclass
class SourcePass:
    """Predicts sources from where the shards end; memory is flat.

    Args:
        predictor: the model.
        sources: images and films.
        boxes: of a file; None: each image is one person.
        shards: where results go.
        batch_size: crops that the model sees at once.
        shard_seconds: how much work a shard holds at most.
    """

    predictor: Predictor
    sources: Sequence[Source]
    boxes: FileBoxes | None
    shards: ShardFolder
    batch_size: int
    shard_seconds: float = SHARD_SECONDS
    _waiting: list[_Crop] = field(default_factory=list)

    def run(self, report: Report) -> None:
        """Predict all that is not predicted yet."""
        facts = self.predictor.facts
        reader = ImageReader(facts.upright, facts.white, facts.background)
        crop = PersonCrop(facts.crop_size, facts.padding)
        begin = self.shards.end
        shard = Shard(begin, begin)
        started = time.monotonic()
        for position in range(begin.source, len(self.sources)):
            start = begin.frame if position == begin.source else 0
            for frame in read_source(self.sources[position], reader, start):
                self._add_frame(shard, crop, Position(position, frame.number), frame)
                shard.end = Position(position, frame.number + 1)
                report(self.shards.done + shard.images + len(shard.problems))
                is_due = time.monotonic() - started > self.shard_seconds
                if is_due or len(shard.persons) + len(self._waiting) >= SHARD_PERSONS:
                    shard = self._finish(shard)
                    started = time.monotonic()
            shard.end = Position(position + 1, 0)
        if shard.end != shard.begin:
            self._finish(shard)

    def _add_frame(self, shard: Shard, crop: PersonCrop, place: Position, frame: Frame) -> None:
        if frame.pixels is None:
            shard.problems.append((frame.id, frame.problem))
            return
        height, width = frame.pixels.shape[:2]
        size = (width, height)
        boxes: Sequence[Box] = (NO_BOX,)
        if self.boxes is not None:
            boxes = self.boxes.find(place.source, place.frame, frame.id, size, shard.tally)
        shard.images += 1
        shard.without_box += not boxes
        for number, box in enumerate(boxes):
            matrix = crop.place(np.array(box, dtype=np.float32), (height, width))
            pixels = warp_image(frame.pixels, matrix, crop.size)
            self._waiting.append(_Crop(pixels, matrix, frame.id, place, number + 1, size, box))
            if len(self._waiting) >= self.batch_size:
                self._predict_waiting(shard)

    def _predict_waiting(self, shard: Shard) -> None:
        if not self._waiting:
            return
        found = self.predictor.predict(np.stack([crop.pixels for crop in self._waiting]))
        to_image = np.asarray(np.linalg.inv(np.stack([crop.matrix for crop in self._waiting])))
        joints = move_points(found.joints, to_image)
        for row, crop in enumerate(self._waiting):
            shard.persons.append(
                PredictedPerson(
                    image=crop.image,
                    source=crop.place.source,
                    frame=crop.place.frame,
                    person=crop.person,
                    size=crop.size,
                    box=crop.box,
                    joints=joints[row],
                    confidence=found.confidence[row],
                    predicted_loss=float(found.predicted_loss[row]),
                    failure_score=float(found.failure_score[row]),
                )
            )
        self._waiting.clear()

    def _finish(self, shard: Shard) -> Shard:
        """Write a shard; return the next one."""
        self._predict_waiting(shard)
        self.shards.append(shard)
        return Shard(shard.end, shard.end)
