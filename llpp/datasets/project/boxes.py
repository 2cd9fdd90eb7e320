"""The boxes of a project's images: dataset.boxes = image | a file of boxes | onnx:MODEL.

The starting process finds them once and keeps them in boxes.parquet; every rank only reads that file. Persons are
numbered by their boxes, best first, so an image that has boxes keeps them whatever the file or the model says later.
An image without boxes shows no person. A detector is the user's own, and so is the question of its licence.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llpp.datasets.coco.oddities import Tally, format_value
from llpp.datasets.images import is_file
from llpp.datasets.project.box_files import BoxFile, ScoredBox, keep_usable, parse_box_file, read_box_file
from llpp.datasets.project.detector import Detector, read_model
from llpp.datasets.project.image_names import match_names
from llpp.datasets.project.index import CONDITIONS, ProjectIndex
from llpp.datasets.project.project_file import read_project
from llpp.errors import DataError, StateError
from llpp.files import replace_file
from llpp.ids import TEXT, Ids
from llpp.journal.answers import Box
from llpp.journal.folder import LabellingFolder
from llpp.run_dir.checked_tables import read_table, write_table

IMAGE = "image"  # one person or animal in each image, and no boxes
MODEL = "onnx:"
FACT = "boxes_sha256"  # in project.json: of the file or the model
METADATA = b"llpp_boxes"
SAVE_EVERY = 200  # images of a detector: what a kill may cost
MAX_RATIO_ERROR = 0.02  # of width to height, up to which an image of another size is the same, only scaled
READABLE = (CONDITIONS.index("ok"), CONDITIONS.index("apart"))
SCHEMA = pa.schema(
    [
        ("id", TEXT),
        ("digest", pa.uint64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("width", pa.float64()),
        ("height", pa.float64()),
        ("score", pa.float64()),
    ]
)
NO_BOX = (float("nan"),) * 5  # of an image that was looked at
ReadImage = Callable[[int], NDArray[np.uint8]]
log = logging.getLogger(__name__)


@dataclass
class FoundBoxes:
    """What boxes.parquet holds."""

    source: str = ""  # file | onnx; empty: nothing was looked at yet
    digest: str = ""  # SHA-256 of the file or the model
    images: dict[str, tuple[int, list[ScoredBox]]] = field(default_factory=dict)  # id → the image's digest, its boxes


def update_boxes(
    setting: str,
    root: Path,
    folder: LabellingFolder,
    index: ProjectIndex,
    read_image: ReadImage,
) -> tuple[dict[str, Any], list[str]]:
    """Find the boxes of images that have not been looked at, for the starting process only.

    `read_image(row)` returns the pixels (H, W, 3) RGB of an image of the index, and is called for a detector only.

    Returns:
        What project.json has to keep, and sentences about what was left out.

    Raises:
        DataError: the file or the model is missing, or cannot be used.
        StateError: the boxes so far come from another model.
    """
    if setting == IMAGE:
        return {}, []
    source = "onnx" if setting.startswith(MODEL) else "file"
    path = _find_file(setting, root)
    data = read_model(path) if source == "onnx" else read_box_file(path)
    digest = hashlib.sha256(data).hexdigest()
    found = _read_found(folder) or FoundBoxes()
    _check_same_source(found, folder, setting, source, digest)
    is_same_file = found.digest == digest
    found.source = source
    found.digest = digest

    tally = Tally()
    rows = _find_new_rows(found, index)
    if rows or not is_same_file:
        if source == "onnx":
            _run_detector(Detector(path, data), rows, found, folder, index, read_image, tally)
        else:
            content = parse_box_file(path, data, tally)
            matched = match_names(content.boxes, index, tally)
            if not matched:
                _refuse_useless_file(path, content, root)
            _take_from_file(content, matched, rows, found, index, tally)
        _write_found(found, folder)
    return {FACT: digest}, tally.describe()


def read_boxes(setting: str, folder: LabellingFolder) -> Mapping[str, Sequence[Box]] | None:
    """Return the boxes of each image that has any, by its id, the best first; None if each image is one person.

    Raises:
        StateError: boxes.parquet is missing or damaged.
    """
    if setting == IMAGE:
        return None
    found = _read_found(folder)
    if found is None:
        raise StateError(
            f"{folder.boxes} is missing or damaged; start llpp label with dataset.boxes={setting} to make it again"
        )
    boxes = {}
    for image, (_, scored) in found.images.items():
        if scored:
            boxes[image] = [one.box for one in scored]
    return boxes


def _find_file(setting: str, root: Path) -> Path:
    """The file that a setting names: below the current folder, or else below the project's root."""
    given = Path(setting.removeprefix(MODEL)).expanduser()
    for path in (given, root / given):
        if is_file(path):
            return path
    tried = f"{given.absolute()} or {root / given}"
    if given.is_absolute():
        tried = str(given)
    raise DataError(
        f"dataset.boxes={setting}: there is no file {tried}; expected {IMAGE}, a file of boxes, or {MODEL}MODEL with "
        "the ONNX file of a detector"
    )


def _check_same_source(found: FoundBoxes, folder: LabellingFolder, setting: str, source: str, digest: str) -> None:
    """Raise StateError if boxes were found by something else: persons are numbered by them."""
    remedy = "start another project with dataset.labelling=… for the new boxes"
    if found.source and found.source != source:
        raise StateError(
            f"dataset.boxes={setting}, but the boxes in {folder.boxes} come from "
            f"{'a file' if found.source == 'file' else 'a model'}; set dataset.boxes to that, or {remedy}"
        )
    if source == "file":
        return
    known = found.digest
    if not known:
        # The table was lost; the answers that name persons by its boxes were not.
        project = read_project(folder.project_file)
        known = "" if project is None else str(project.facts.get(FACT, ""))
    if known and known != digest:
        raise StateError(
            f"the model of dataset.boxes={setting} has the SHA-256 {digest}, and the boxes so far were found with "
            f"{known}; put that model back, or {remedy}"
        )


def _find_new_rows(found: FoundBoxes, index: ProjectIndex) -> list[int]:
    """The rows of images that have not been looked at with the content that they have now."""
    rows = []
    for row, image in enumerate(index.ids):
        looked_at = found.images.get(image)
        is_new = looked_at is None or looked_at[0] != int(index.digest[row])
        if is_new and index.condition[row] in READABLE:
            rows.append(row)
    return rows


def _run_detector(
    detector: Detector,
    rows: Sequence[int],
    found: FoundBoxes,
    folder: LabellingFolder,
    index: ProjectIndex,
    read_image: ReadImage,
    tally: Tally,
) -> None:
    """Find the boxes of these rows' images, and save them now and then: a detector may take hours."""
    log.info("%s: looking for boxes in %s images", detector.path, f"{len(rows):,}")
    for done, row in enumerate(rows):
        if done and done % SAVE_EVERY == 0:
            _write_found(found, folder)
            log.info("%s: %s of %s images", detector.path, f"{done:,}", f"{len(rows):,}")
        image = index.ids[row]
        try:
            pixels = read_image(row)
        except DataError as error:
            # It is looked at when it can be read.
            tally.add("images cannot be read and have no boxes", str(error))
            continue
        boxes = keep_usable(detector.find_boxes(pixels), _get_size(index, row), Tally(), image)
        found.images[image] = (int(index.digest[row]), boxes)


def _take_from_file(
    content: BoxFile,
    matched: Mapping[str, int],
    new_rows: Sequence[int],
    found: FoundBoxes,
    index: ProjectIndex,
    tally: Tally,
) -> None:
    """Give images the boxes that a file has for them, where they have none yet or are new."""
    may_change = set(new_rows)
    for row in new_rows:
        found.images[index.ids[row]] = (int(index.digest[row]), [])
    for name, row in matched.items():
        image = index.ids[row]
        if image not in found.images:
            tally.add("images of the file of boxes are missing or cannot be read by now", image)
            continue
        scaled = scale_boxes(content, name, _get_size(index, row), tally)
        boxes = keep_usable(scaled, _get_size(index, row), tally, image)
        digest, former = found.images[image]
        if former and row not in may_change:
            if former != boxes:
                tally.add(
                    "images keep the boxes that they have, by which persons are numbered, in place of others", image
                )
            continue
        found.images[image] = (digest, boxes)


def _refuse_useless_file(path: Path, content: BoxFile, root: Path) -> None:
    """Raise DataError about a file without any box of an image of the project."""
    if not content.boxes:
        raise DataError(f"{path} has no usable box; expected at least one, or set dataset.boxes={IMAGE}")
    name = format_value(next(iter(content.boxes)))
    raise DataError(
        f"{path} has boxes for {len(content.boxes):,} images, {name} among them, and none of these is in {root}; "
        "expected paths below that folder, or file names that occur there once"
    )


def scale_boxes(content: BoxFile, name: str, size: tuple[int, int], tally: Tally) -> Sequence[ScoredBox]:
    """The boxes of an image in the pixels that it has here; none if it has another shape in the file."""
    boxes = content.boxes[name]
    other = content.sizes.get(name, size)
    if other == size:
        return boxes
    factor_x = size[0] / other[0]
    factor_y = size[1] / other[1]
    if abs(factor_x / factor_y - 1) > MAX_RATIO_ERROR:
        what = f"{format_value(name)} of {other[0]} × {other[1]} in the file, {size[0]} × {size[1]} here"
        tally.add("images have another shape than in the file of boxes, so that those are left out", what)
        return []
    scaled = []
    for scored in boxes:
        x, y, width, height = scored.box
        box = (x * factor_x, y * factor_y, width * factor_x, height * factor_y)
        scaled.append(ScoredBox(box, scored.score))
    return scaled


def _get_size(index: ProjectIndex, row: int) -> tuple[int, int]:
    return int(index.width[row]), int(index.height[row])


def _write_found(found: FoundBoxes, folder: LabellingFolder) -> None:
    """Replace boxes.parquet; an image without boxes has a row, too, so that nobody looks at it again."""
    ids = []
    digests = []
    values: list[tuple[float, ...]] = []
    for image, (digest, boxes) in found.images.items():
        rows = [(*scored.box, scored.score) for scored in boxes] or [NO_BOX]
        for row in rows:
            ids.append(image)
            digests.append(digest)
            values.append(row)
    columns = [pa.array(column, pa.float64()) for column in np.array(values).reshape(-1, 5).T]
    facts = {"source": found.source, "sha256": found.digest}
    schema = SCHEMA.with_metadata({METADATA: json.dumps(facts).encode()})
    table = pa.table([Ids(ids).array, pa.array(digests, pa.uint64()), *columns], schema=schema)
    replace_file(folder.boxes, lambda part: write_table(part, table))


def _read_found(folder: LabellingFolder) -> FoundBoxes | None:
    """Read boxes.parquet; None if it is missing or damaged: it can be made again."""
    table = read_table(folder.boxes, SCHEMA)
    if table is None:
        return None
    try:
        facts = json.loads((table.schema.metadata or {})[METADATA])
        found = FoundBoxes(facts["source"], facts["sha256"])
    except (KeyError, TypeError, ValueError):
        return None
    values = np.stack([table[name].to_numpy() for name in SCHEMA.names[2:]], axis=1).tolist()
    for image, digest, row in zip(table["id"].to_pylist(), table["digest"].to_pylist(), values, strict=True):
        x, y, width, height, score = row
        _, boxes = found.images.setdefault(image, (digest, []))
        if not np.isnan(score):
            boxes.append(ScoredBox((x, y, width, height), score))
    return found
