"""The table of predictions, from shards: CSV, Parquet, or COCO's results.

K joints; `docs/predict.md` explains the columns.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llpp.errors import expect
from llpp.files import replace_file
from llpp.ids import TEXT
from llpp.prediction.failure_flags import FailureFlags
from llpp.prediction.shards import PredictedPerson

FORMATS = {"csv": "predictions.csv", "parquet": "predictions.parquet", "coco": "predictions.json"}
BOX = ("box_x", "box_y", "box_width", "box_height")
PER_JOINT = ("x", "y", "score")
Persons = Sequence[PredictedPerson]


def check_format(name: str) -> None:
    """Raise ConfigError about a format that there is not."""
    expect(name in FORMATS, "format", name, f"one of {', '.join(FORMATS)}")


def write_predictions(
    folder: Path,
    name: str,
    parts: Iterable[Persons],
    joints: Sequence[str],
    flags: FailureFlags,
    image_ids: Mapping[str, int | str],
) -> Path:
    """Replace the table of a format, part by part; return its path.

    `image_ids` are COCO's, by image; others are counted.
    """

    def write_coco(path: Path, parts: Iterable[Persons], joints: Sequence[str], flags: FailureFlags) -> None:
        _write_coco(path, parts, flags, image_ids)

    writers: dict[str, Callable[[Path, Iterable[Persons], Sequence[str], FailureFlags], None]] = {
        "csv": _write_csv,
        "parquet": _write_parquet,
        "coco": write_coco,
    }
    path = folder / FORMATS[name]
    replace_file(path, lambda part: writers[name](part, parts, joints, flags))
    return path


def judge_persons(persons: Persons, flags: FailureFlags) -> tuple[NDArray[np.float64], list[str]]:
    """(N,) the probability of failure, NaN where it is unknown, and (N,) the flag."""
    scores = np.array([person.failure_score for person in persons], dtype=np.float32)
    return flags.compute_probability(scores), flags.flag(scores).tolist()


def list_joint_columns(joints: Sequence[str]) -> list[str]:
    """The columns of the joints, three for each."""
    columns = []
    for joint in joints:
        columns += [f"{joint}_{what}" for what in PER_JOINT]
    return columns


def _write_csv(path: Path, parts: Iterable[Persons], joints: Sequence[str], flags: FailureFlags) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        header = ["image", "person", *BOX, "predicted_loss", "failure_score", "p_fail", "flag"]
        writer.writerow([*header, *list_joint_columns(joints)])
        for persons in parts:
            probability, words = judge_persons(persons, flags)
            for person, chance, word in zip(persons, probability.tolist(), words, strict=True):
                row: list[Any] = [person.image, person.person]
                row += [_format_number(value, ".2f") for value in person.box]
                row += [_format_number(person.predicted_loss, ".6g"), _format_number(person.failure_score, ".6g")]
                row += [_format_number(chance, ".4f"), word]
                for (x, y), score in zip(person.joints.tolist(), person.confidence.tolist(), strict=True):
                    row += [_format_number(x, ".3f"), _format_number(y, ".3f"), _format_number(score, ".4g")]
                writer.writerow(row)


def _format_number(value: float, spec: str) -> str:
    """A number as text; empty where it is none."""
    return format(value, spec) if np.isfinite(value) else ""


def _write_parquet(path: Path, parts: Iterable[Persons], joints: Sequence[str], flags: FailureFlags) -> None:
    kinds = [("image", TEXT), ("person", pa.int64())]
    kinds += [(name, pa.float32()) for name in BOX]
    kinds += [("predicted_loss", pa.float32()), ("failure_score", pa.float32())]
    kinds += [("p_fail", pa.float64()), ("flag", TEXT)]
    kinds += [(name, pa.float32()) for name in list_joint_columns(joints)]
    schema = pa.schema(kinds)
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for persons in parts:
            probability, words = judge_persons(persons, flags)
            count = len(persons)
            boxes = np.array([person.box for person in persons], dtype=np.float32).reshape(count, 4)
            points = np.array([person.joints for person in persons], dtype=np.float32).reshape(count, len(joints), 2)
            scores = np.array([person.confidence for person in persons], dtype=np.float32).reshape(count, len(joints))
            values = np.concatenate([points, scores[..., None]], axis=2).reshape(count, 3 * len(joints))
            columns = [
                pa.array([person.image for person in persons], TEXT),
                pa.array([person.person for person in persons], pa.int64()),
                *_to_columns(boxes),
                pa.array([person.predicted_loss for person in persons], pa.float32(), from_pandas=True),
                pa.array([person.failure_score for person in persons], pa.float32(), from_pandas=True),
                pa.array(probability, from_pandas=True),
                pa.array(words, TEXT),
                *_to_columns(values),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _to_columns(values: NDArray[np.float32]) -> list[pa.Array]:
    """The columns of (N, C) values; null where a value is no number."""
    return [pa.array(np.ascontiguousarray(column), from_pandas=True) for column in values.T]


def _write_coco(
    path: Path, parts: Iterable[Persons], flags: FailureFlags, image_ids: Mapping[str, int | str]
) -> None:
    """COCO's results are one list, which is written entry by entry."""
    number = 0
    image = None
    separator = "["
    with path.open("w", encoding="utf-8") as file:
        for persons in parts:
            probability, words = judge_persons(persons, flags)
            for person, chance, word in zip(persons, probability.tolist(), words, strict=True):
                if person.image != image:
                    image = person.image
                    number += 1
                entry = _make_coco_entry(person, image_ids.get(person.image, number))
                entry["p_fail"] = _replace_nan(chance)
                entry["flag"] = word
                file.write(f"{separator}\n{json.dumps(entry, ensure_ascii=False, allow_nan=False)}")
                separator = ","
        file.write("[]\n" if separator == "[" else "\n]\n")


def _make_coco_entry(person: PredictedPerson, image_id: int | str) -> dict[str, Any]:
    """A result of COCO, with the keys that pycocotools reads and our own."""
    keypoints = []
    for (x, y), score in zip(person.joints.tolist(), person.confidence.tolist(), strict=True):
        keypoints += [_replace_nan(x), _replace_nan(y), _replace_nan(score)]
    box = list(person.box)
    if not np.isfinite(box).all():
        box = [0.0, 0.0, float(person.size[0]), float(person.size[1])]
    return {
        "image_id": image_id,
        "file_name": person.image,
        "category_id": 1,
        "bbox": box,
        "keypoints": keypoints,
        "score": _replace_nan(float(np.mean(person.confidence))),
        "predicted_loss": _replace_nan(person.predicted_loss),
        "failure_score": _replace_nan(person.failure_score),
    }


def _replace_nan(value: float) -> float | None:
    return value if np.isfinite(value) else None
