"""Predictions as they are made: a folder of Parquet files, each written whole or not at all.

A file says where its images begin and end, what could not be read among them, and which model made it; so a killed
command resumes after the last one.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llpp.datasets.coco.oddities import Tally
from llpp.errors import OccupiedError, StateError
from llpp.files import replace_file, replace_text
from llpp.ids import TEXT
from llpp.run_dir.checked_tables import read_table, write_table

METADATA = b"llpp_predict"
COMMAND = "predict.json"
VERSION = 1
MAX_BYTES = 1 << 26  # of predict.json
PLAIN = ("image", "source", "frame", "person", "width", "height")
OWN_NAMES = ("lock", f".{COMMAND}.part")  # that may be there before predict.json is


@dataclass(frozen=True)
class Position:
    """The next image to predict."""

    source: int = 0
    frame: int = 0


@dataclass(frozen=True)
class PredictedPerson:
    """What a model says about one box of an image."""

    image: str
    source: int  # position of the image's or film's entry among all
    frame: int  # in the film; 0 of an image
    person: int  # 1 for the first box of the image
    size: tuple[int, int]  # of the image: width and height, pixels
    box: Sequence[float]  # x, y, width, height in pixels; NaN: all of the image
    joints: NDArray[np.float32]  # (K, 2) image pixels
    confidence: NDArray[np.float32]  # (K,)
    predicted_loss: float
    failure_score: float


@dataclass
class Shard:
    """What is known about some images that follow each other."""

    begin: Position
    end: Position
    images: int = 0  # that were read
    without_box: int = 0  # of these
    persons: list[PredictedPerson] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)  # image or film, and why it was passed over
    tally: Tally = field(default_factory=Tally)  # of boxes that cannot be used


@dataclass
class Counts:
    """What all shards say, but for the persons."""

    images: int = 0
    without_box: int = 0
    persons: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class ShardFolder:
    """The shards of one command.

    Args:
        folder: where results are.
        joints: that the model predicts.
        identity: what the predictions depend on; shards of another one are not continued.

    Raises:
        OccupiedError: the folder holds predictions of another model, or of other images, or other files.
    """

    def __init__(self, folder: Path, joints: int, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.joints = joints
        self.schema = _make_schema(joints)
        self._check_identity(identity)
        self.paths: list[Path] = []
        self.end = Position()
        self.done = 0  # images and frames that were looked at, readable or not
        self._find_shards()

    def _check_identity(self, identity: dict[str, Any]) -> None:
        path = self.folder / COMMAND
        wanted = {"llpp_predict": VERSION, **identity}
        if path.is_file():
            found = _read_identity(path)
            changed = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
            if changed:
                raise OccupiedError(
                    f"{self.folder} holds predictions of another command (its {', '.join(changed)} differ); give "
                    "another out=FOLDER, or delete it"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        others = sorted(entry.name for entry in self.folder.iterdir() if entry.name not in OWN_NAMES)
        if others:
            # Results replace what has their names, and drawn pictures are deleted when their flags change.
            raise OccupiedError(
                f"{self.folder} holds other files ({', '.join(others[:3])}), and results need a folder of their own; "
                "give another out=FOLDER"
            )
        replace_text(path, json.dumps(wanted, indent=1, ensure_ascii=False))

    def _find_shards(self) -> None:
        """Find the shards that follow each other; what is after a damaged one is made again."""
        while True:
            path = self._get_path(len(self.paths))
            table = read_table(path, self.schema)
            if table is None:
                return
            facts = _parse_facts(table)
            if facts is None or Position(*facts["begin"]) != self.end:
                return
            self.paths.append(path)
            self.end = Position(*facts["end"])
            self.done += facts["images"] + len(facts["problems"])

    def _get_path(self, number: int) -> Path:
        return self.folder / "shards" / f"{number:06d}.parquet"

    def append(self, shard: Shard) -> None:
        """Write the next shard."""
        table = self._make_table(shard)
        path = self._get_path(len(self.paths))
        replace_file(path, lambda part: write_table(part, table))
        self.paths.append(path)
        self.end = shard.end
        self.done += shard.images + len(shard.problems)

    def _make_table(self, shard: Shard) -> pa.Table:
        facts = {
            "begin": [shard.begin.source, shard.begin.frame],
            "end": [shard.end.source, shard.end.frame],
            "images": shard.images,
            "without_box": shard.without_box,
            "problems": shard.problems,
            "tally": {"counts": shard.tally.counts, "examples": shard.tally.examples},
        }
        persons = shard.persons
        count = len(persons)
        boxes = np.array([person.box for person in persons], dtype=np.float32).reshape(count, 4)
        joints = np.array([person.joints for person in persons], dtype=np.float32).reshape(-1)
        confidence = np.array([person.confidence for person in persons], dtype=np.float32).reshape(-1)
        columns = [
            pa.array([person.image for person in persons], TEXT),
            pa.array([person.source for person in persons], pa.int64()),
            pa.array([person.frame for person in persons], pa.int64()),
            pa.array([person.person for person in persons], pa.int64()),
            pa.array([person.size[0] for person in persons], pa.int64()),
            pa.array([person.size[1] for person in persons], pa.int64()),
            pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4),
            pa.FixedSizeListArray.from_arrays(pa.array(joints), 2 * self.joints),
            pa.FixedSizeListArray.from_arrays(pa.array(confidence), self.joints),
            pa.array([person.predicted_loss for person in persons], pa.float32()),
            pa.array([person.failure_score for person in persons], pa.float32()),
        ]
        # An empty list has no type of its own.
        columns = [column.cast(kind) for column, kind in zip(columns, self.schema.types, strict=True)]
        return pa.table(columns, schema=self.schema.with_metadata({METADATA: json.dumps(facts).encode()}))

    def read_counts(self) -> Counts:
        """Add up what the shards say."""
        counts = Counts()
        for table in self._read_tables():
            facts = _parse_facts(table) or {}
            counts.images += facts["images"]
            counts.without_box += facts["without_box"]
            counts.persons += table.num_rows
            counts.problems += [(name, reason) for name, reason in facts["problems"]]
            for kind, number in facts["tally"]["counts"].items():
                for example in facts["tally"]["examples"][kind]:
                    counts.tally.add(kind, example)
                counts.tally.counts[kind] += number - len(facts["tally"]["examples"][kind])
        return counts

    def read_persons(self) -> Iterator[list[PredictedPerson]]:
        """All predictions in order, shard by shard."""
        for table in self._read_tables():
            yield _parse_persons(table, self.joints)

    def read_scores(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(N,) all failure scores, and (N,) of which source each is."""
        scores = [np.zeros(0, dtype=np.float32)]
        sources = [np.zeros(0, dtype=np.int64)]
        for table in self._read_tables():
            scores.append(table["failure_score"].to_numpy())
            sources.append(table["source"].to_numpy())
        return np.concatenate(scores), np.concatenate(sources)

    def read_frames(self) -> NDArray[np.int64]:
        """(N,) the frame of each prediction in its film; 0 of an image."""
        frames = [np.zeros(0, dtype=np.int64)]
        for table in self._read_tables():
            frames.append(table["frame"].to_numpy())
        return np.concatenate(frames)

    def _read_tables(self) -> Iterator[pa.Table]:
        for path in self.paths:
            table = read_table(path, self.schema)
            if table is None or _parse_facts(table) is None:
                raise StateError(f"{path} is damaged or was removed; run the same command again")
            yield table


def _make_schema(joints: int) -> pa.Schema:
    return pa.schema(
        [
            ("image", TEXT),
            ("source", pa.int64()),
            ("frame", pa.int64()),
            ("person", pa.int64()),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("box", pa.list_(pa.float32(), 4)),
            ("joints", pa.list_(pa.float32(), 2 * joints)),
            ("confidence", pa.list_(pa.float32(), joints)),
            ("predicted_loss", pa.float32()),
            ("failure_score", pa.float32()),
        ]
    )


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise StateError(f"{path} is damaged; delete {path.parent}, or give another out=FOLDER") from error
    if not isinstance(found, dict):
        raise StateError(f"{path} is damaged; delete {path.parent}, or give another out=FOLDER")
    return found


def _parse_facts(table: pa.Table) -> dict[str, Any] | None:
    try:
        facts = json.loads((table.schema.metadata or {})[METADATA])
    except (KeyError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _parse_persons(table: pa.Table, joints: int) -> list[PredictedPerson]:
    count = table.num_rows
    boxes = _flatten(table, "box").reshape(count, 4)
    points = _flatten(table, "joints").reshape(count, joints, 2)
    confidence = _flatten(table, "confidence").reshape(count, joints)
    plain = table.select([*PLAIN, "predicted_loss", "failure_score"]).to_pylist()
    persons = []
    for row, entry in enumerate(plain):
        persons.append(
            PredictedPerson(
                image=entry["image"],
                source=entry["source"],
                frame=entry["frame"],
                person=entry["person"],
                size=(entry["width"], entry["height"]),
                box=boxes[row].tolist(),
                joints=points[row],
                confidence=confidence[row],
                predicted_loss=entry["predicted_loss"],
                failure_score=entry["failure_score"],
            )
        )
    return persons


def _flatten(table: pa.Table, name: str) -> NDArray[np.float32]:
    return np.asarray(table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
