"""Files of boxes: COCO's annotations, COCO's detections, or a CSV table → boxes by the name of their image."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llpp.datasets.coco.oddities import REMEDY, Tally, format_value
from llpp.datasets.coco.values import Entry, is_coordinate, parse_size, simplify_id
from llpp.errors import DataError
from llpp.files import read_bytes
from llpp.journal.answers import Box

MAX_BYTES = 1 << 30  # of a file
MIN_SIDE = 1.0  # pixels of a box: a smaller one shows nothing
# Detectors list what they hardly believe, too. A box too many costs an annotator a click, a missing one costs the
# person in it: the limit is below the 0.5 at which most tools begin to draw.
MIN_SCORE = 0.3
PERSON = "person"
COLUMNS = ("image", "x", "y", "width", "height")  # of a CSV table, which may also have `score`
REQUIRED = (
    f"expected COCO's images and annotations, COCO's list of detections, or CSV with {','.join(COLUMNS)}[,score]"
)


@dataclass(frozen=True)
class ScoredBox:
    """A box, and how sure its maker is."""

    box: Box  # x, y, width, height in pixels
    score: float = 1.0


@dataclass(frozen=True)
class BoxFile:
    """What a file holds: all of its boxes, by the names that it has for images."""

    boxes: Mapping[str, Sequence[ScoredBox]]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # width and height, of images that have both
    image_ids: Mapping[str, int | str] = field(default_factory=dict)  # of images that have one


def parse_box_file(path: Path, data: bytes, tally: Tally) -> BoxFile:
    """Read the content of a file of boxes; `tally` counts what cannot be used.

    Where a file has boxes of several categories, those of `person` are used.

    Raises:
        DataError: it is no file of boxes, names no images, or has several categories and none is called person.
    """
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith((b"{", b"[")):
        return _parse_csv(path, data, tally)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        # ValueError: no JSON, no UTF-8, or a number of thousands of digits.
        raise DataError(f"{path} cannot be read ({error}); it is truncated or no JSON: {REMEDY}") from error
    if isinstance(content, list):
        return _parse_detections(path, content, tally)
    images = content.get("images")
    annotations = content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise DataError(f"{path} is no file of boxes: 'images' or 'annotations' is missing; {REQUIRED}")
    return _parse_annotations(path, content, tally)


def read_box_file(path: Path) -> bytes:
    """Read a file of at most MAX_BYTES; DataError if that is impossible."""
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def keep_usable(boxes: Iterable[ScoredBox], size: tuple[int, int], tally: Tally, name: str) -> list[ScoredBox]:
    """The boxes of an image of this width and height, cut at its border; the best first, equal ones by x.

    What is below MIN_SCORE, outside of the image or smaller than MIN_SIDE is left out and counted in `tally`.
    """
    kept = []
    for scored in boxes:
        if scored.score < MIN_SCORE:
            tally.add(f"boxes with a score below {MIN_SCORE} are left out", f"{scored.score:.2f} in {name}")
            continue
        clipped = _clip(scored.box, size)
        if clipped is None:
            tally.add("boxes outside of their image, or without an area, are left out", _describe(scored.box, name))
            continue
        kept.append(ScoredBox(clipped, scored.score))
    return sorted(kept, key=lambda scored: (-scored.score, scored.box))


def _clip(box: Box, size: tuple[int, int]) -> Box | None:
    """The part of a box inside of an image; None if it is too small to show anything."""
    x, y, width, height = box
    left = max(x, 0.0)
    top = max(y, 0.0)
    right = min(x + width, float(size[0]))
    bottom = min(y + height, float(size[1]))
    if right - left < MIN_SIDE or bottom - top < MIN_SIDE:
        return None
    if (left, top) == (x, y) and right == x + width and bottom == y + height:
        # Sums and differences of fractions would change the last digits of what the file says.
        return box
    return left, top, right - left, bottom - top


def _describe(box: Sequence[float], name: str) -> str:
    values = ", ".join(f"{value:g}" for value in box)
    return f"[{values}] in {name}"


def _parse_annotations(path: Path, content: Entry, tally: Tally) -> BoxFile:
    """Read COCO's object of images and annotations."""
    names: dict[Any, str] = {}
    image_ids: dict[str, int | str] = {}
    sizes = {}
    for image in _select_objects(content["images"], tally):
        number = simplify_id(image.get("id"))
        name = image.get("file_name")
        if isinstance(number, int | str) and isinstance(name, str):
            names[number] = name
            image_ids[name] = number
            size = parse_size(image)
            if size is not None:
                sizes[name] = size
    categories = content.get("categories")
    titles = _read_category_names(categories if isinstance(categories, list) else [])

    named = []
    for entry in _select_objects(content["annotations"], tally):
        number = simplify_id(entry.get("image_id"))
        is_listed = isinstance(number, int | str) and number in names
        if not is_listed:
            tally.add("boxes of images that the file does not list are left out", format_value(entry.get("image_id")))
            continue
        if simplify_id(entry.get("iscrowd")):
            tally.add("boxes of crowds are left out", format_value(entry.get("id")))
            continue
        named.append((names[number], entry))
    return BoxFile(_collect(path, named, titles, tally), sizes, image_ids)


def _parse_detections(path: Path, content: Sequence[Any], tally: Tally) -> BoxFile:
    """Read COCO's list of detections, whose entries have to name their image's file."""
    named = []
    for entry in _select_objects(content, tally):
        name = entry.get("file_name", entry.get("image_id"))
        if not isinstance(name, str):
            raise DataError(
                f"{path} is a list of detections with the image_id {format_value(name)}, which names no file; write "
                "each image's file name as file_name or image_id, or give a COCO file with images and annotations"
            )
        named.append((name, entry))
    return BoxFile(_collect(path, named, {}, tally))


def _select_objects(entries: Iterable[Any], tally: Tally) -> list[Entry]:
    """The entries that are objects; others are counted."""
    objects = []
    for entry in entries:
        if isinstance(entry, dict):
            objects.append(entry)
        else:
            tally.add("entries are no objects and left out", format_value(entry))
    return objects


def _read_category_names(categories: Iterable[Any]) -> dict[Any, str]:
    """The name of each category by its id."""
    names = {}
    for category in categories:
        if not isinstance(category, dict):
            continue
        number = simplify_id(category.get("id"))
        if isinstance(number, int | str):
            names[number] = str(category.get("name", number))
    return names


def _collect(
    path: Path, named: Iterable[tuple[str, Entry]], titles: Mapping[Any, str], tally: Tally
) -> dict[str, list[ScoredBox]]:
    """The boxes of entries of one category, by the name of their image; `titles` are the categories' names."""
    found: dict[str, dict[str, list[ScoredBox]]] = {}
    for name, entry in named:
        scored = _parse_entry(entry)
        if scored is None:
            what = f"{format_value(entry.get('bbox'))} in {format_value(name)}"
            tally.add("entries without a usable bbox (x, y, width, height) or score are left out", what)
            continue
        number = simplify_id(entry.get("category_id"))
        is_id = isinstance(number, int | str)
        category = titles.get(number, str(number)) if is_id else ""
        found.setdefault(category, {}).setdefault(name, []).append(scored)
    if len(found) <= 1:
        return next(iter(found.values()), {})
    if PERSON not in found:
        shown = ", ".join(map(format_value, sorted(found)))
        raise DataError(
            f"{path} has boxes of {len(found)} categories ({shown}); expected one, or one that is called {PERSON}: "
            "each box is one person or animal to label; keep those of one category"
        )
    for category in sorted(found.keys() - {PERSON}):
        for boxes in found[category].values():
            for _ in boxes:
                tally.add(f"boxes are of other categories than {PERSON} and left out", format_value(category))
    return found[PERSON]


def _parse_entry(entry: Entry) -> ScoredBox | None:
    """The box of an entry; None if it has none, or impossible values."""
    box = entry.get("bbox")
    score = entry.get("score")
    if score is None:
        score = 1.0
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_coordinate, box)) or not is_coordinate(score):
        return None
    x, y, width, height = map(float, box)
    return ScoredBox((x, y, width, height), float(score))


def _parse_csv(path: Path, data: bytes, tally: Tally) -> BoxFile:
    """Read a table with a header."""
    boxes: dict[str, list[ScoredBox]] = {}
    remedy = f"for labelling, a detector is set as dataset.boxes=onnx:{path}"
    try:
        text = data.decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        header = rows.fieldnames or []
        if not set(COLUMNS) <= set(header):
            raise DataError(f"{path} is no file of boxes; {REQUIRED}; {remedy}")
        for row in rows:
            scored = _parse_row(row)
            if scored is None:
                tally.add("lines without usable numbers are left out", f"line {rows.line_num}")
                continue
            boxes.setdefault(row["image"], []).append(scored)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no file of boxes ({error}); {REQUIRED}; {remedy}") from error
    return BoxFile(boxes)


def _parse_row(row: Mapping[str, str | None]) -> ScoredBox | None:
    """The box of a line; None if a number is missing or impossible."""
    values = []
    for column in COLUMNS[1:]:
        values.append(_parse_number(row[column]))
    score = 1.0
    if row.get("score"):
        score = _parse_number(row["score"])
    if not row["image"] or not all(map(is_coordinate, [*values, score])):
        return None
    x, y, width, height = values
    return ScoredBox((x, y, width, height), score)


def _parse_number(text: str | None) -> float:
    """A number; NaN if it is none."""
    try:
        return float(text or "")
    except ValueError:
        return float("nan")
