"""Tables of joints as DeepLabCut and Lightning Pose have them: a row per image, a column per coordinate.

Above the columns are three or four header rows: the scorer, individuals if there are several, body parts, and
coordinates. N images, C columns.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.coco.oddities import format_value
from llpp.datasets.coco.values import is_coordinate
from llpp.errors import DataError
from llpp.files import read_bytes
from llpp.journal.answers import Point
from llpp.oracles.answer_files import find_name_problem, is_text
from llpp.oracles.tool import Entry, PersonEntry, ReadOptions, Rejection

LEVELS = ("scorer", "individuals", "bodyparts", "coords")
COORDINATES = ("x", "y", "visible", "likelihood")
LABELS = "CollectedData_"  # how the names of DeepLabCut's files of labels begin
MAX_BYTES = 1 << 28
IGNORED = 1  # Lightning Pose's `visible`: the joint is somewhere, and its coordinates mean nothing


@dataclass(frozen=True)
class Column:
    """What one column holds."""

    individual: str  # empty where the table has no individuals
    joint: str
    coordinate: str  # one of COORDINATES


@dataclass(frozen=True)
class JointTable:
    """What a file holds; rows that cannot be used are in `rejections` only."""

    scorer: str
    columns: Sequence[Column]  # (C,)
    names: Sequence[str]  # (N,) paths of images, with /
    values: NDArray[np.float64]  # (N, C) NaN where nothing is
    rejections: Sequence[Rejection] = ()

    @property
    def is_prediction(self) -> bool:
        """Whether the table was made by a model: it knows how likely each joint is."""
        return any(column.coordinate == "likelihood" for column in self.columns)


def starts_like_table(start: bytes) -> bool:
    """Whether a file that begins so is such a table, as text; with semicolons, too."""
    lines = start[:65536].decode("utf-8-sig", errors="replace").splitlines()
    first_cells = []
    for line in lines[:2]:
        first_cells.append(line.replace(";", ",").partition(",")[0].strip('"'))
    return len(first_cells) == 2 and first_cells[0] == "scorer" and first_cells[1] in ("individuals", "bodyparts")


def is_deeplabcut_csv(path: Path, start: bytes) -> bool:
    """Whether a table that begins so is DeepLabCut's, and not Lightning Pose's.

    Tables of one animal look alike, and are read in the same way. DeepLabCut's have individuals, or names of images
    in three columns, or are named after their scorer; in files with other names, images are in its folders.
    """
    lines = start.decode("utf-8-sig", errors="replace").replace(";", ",").splitlines()
    rows = [line.split(",") for line in lines[: len(LEVELS)]]
    if rows[1][0] == "individuals" or rows[0][1:3] == ["", ""]:
        return True
    if path.stem.startswith("CollectedData"):
        return path.stem == f"{LABELS}{rows[0][-1]}"
    has_visible = len(rows) > 2 and "visible" in rows[2]
    first_name = rows[-1][0].split("/")
    return not has_visible and first_name[0] == "labeled-data" and len(first_name) == 3


def read_table(path: Path) -> JointTable:
    """Read a table from a file of text; DataError if it is none."""
    try:
        content = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); save it again") from error
    return parse_table(str(path), content)


def parse_table(what: str, content: bytes) -> JointTable:
    """Parse the text of a table; `what` is how messages call it. DataError if it is no such table."""
    try:
        text = content.decode("utf-8-sig")
        if text.startswith("scorer;"):
            raise DataError(f"{what} has semicolons between its cells; save it with commas and decimal points")
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{what} cannot be read as CSV in UTF-8 ({error}); save it again") from error
    headers = _read_headers(lines)
    if headers.keys() not in ({"scorer", "bodyparts", "coords"}, set(LEVELS)):
        raise DataError(
            f"{what} begins with the rows {list(headers)}; expected scorer, bodyparts, coords, and individuals if "
            "there are several: save it again"
        )
    name_columns = _count_name_columns(headers["coords"])
    columns = make_columns(
        what,
        headers.get("individuals", [""] * len(headers["coords"]))[name_columns:],
        headers["bodyparts"][name_columns:],
        headers["coords"][name_columns:],
    )
    rows = lines[len(headers) :]
    # What a full disk or a broken copy has cut off may leave 12 of 123.4, which is a number, too.
    cut_off = rows.pop() if rows and not content.endswith(b"\n") else None
    names, values, rejections = _parse_rows(rows, name_columns, columns)
    if cut_off is not None:
        name = _join_name(cut_off, name_columns)
        rejections.append(Rejection(_show_name(name), "the file ends within this line; save it again"))
    return JointTable(
        scorer=headers["scorer"][name_columns],
        columns=columns,
        names=names,
        values=np.array(values, dtype=np.float64).reshape(len(names), len(columns)),
        rejections=rejections,
    )


def _read_headers(lines: Sequence[list[str]]) -> dict[str, list[str]]:
    """The header rows by their names."""
    headers: dict[str, list[str]] = {}
    for line in lines[: len(LEVELS)]:
        if not line or line[0] not in LEVELS or line[0] in headers:
            break
        headers[line[0]] = line
    return headers


def _count_name_columns(header: Sequence[str]) -> int:
    """How many columns stand in front of the coordinates; the first holds the row's own name."""
    count = 1
    while count < len(header) and not header[count]:
        count += 1
    return count


def make_columns(
    what: str, individuals: Sequence[str], joints: Sequence[str], coordinates: Sequence[str]
) -> list[Column]:
    """Put headers together, (C,) each; DataError if they are no coordinates of joints, or repeat one."""
    if not len(individuals) == len(joints) == len(coordinates) or not joints:
        raise DataError(f"{what} has header rows of different lengths, or no columns; save it again")
    columns = []
    for individual, joint, coordinate in zip(individuals, joints, coordinates, strict=True):
        if coordinate not in COORDINATES:
            raise DataError(f"{what} has a column {coordinate!r}; expected one of {', '.join(COORDINATES)}")
        columns.append(Column(individual, joint, coordinate))
    if len(set(columns)) < len(columns):
        raise DataError(f"{what} has two columns for the same joint; remove one of them")
    return columns


def _parse_rows(
    rows: Sequence[list[str]], name_columns: int, columns: Sequence[Column]
) -> tuple[list[str], list[list[float]], list[Rejection]]:
    names = []
    values = []
    rejections = []
    for cells in rows:
        name = _join_name(cells, name_columns)
        # Empty lines, and those that pandas writes for the names of the first columns.
        if not name.strip("/"):
            continue
        try:
            row = _parse_cells(cells[name_columns:], columns)
        except ValueError as error:
            rejections.append(Rejection(_show_name(name), str(error)))
            continue
        names.append(name)
        values.append(row)
    return names, values, rejections


def _join_name(cells: Sequence[str], name_columns: int) -> str:
    return "/".join(cells[:name_columns]).replace("\\", "/")


def _parse_cells(cells: Sequence[str], columns: Sequence[Column]) -> list[float]:
    if len(cells) > len(columns):
        raise ValueError(
            f"the row has {len(cells)} cells after its name, expected {len(columns)}; save the file again"
        )
    # Some writers leave empty cells at the end of a row out.
    padding = [""] * (len(columns) - len(cells))
    row = []
    for cell, column in zip([*cells, *padding], columns, strict=True):
        try:
            value = float(cell) if cell.strip() else math.nan
        except ValueError:
            value = math.inf
        if math.isinf(value):
            raise ValueError(
                f"{column.coordinate} of {column.joint!r} is {cell[:40]!r}; expected a number, or nothing"
            )
        row.append(value)
    return row


def make_entries(table: JointTable, options: ReadOptions) -> tuple[list[Entry], list[Rejection]]:
    """Return an entry per row: labelled if a joint has a position, else open; all by the table's scorer."""
    entries = []
    rejections = list(table.rejections)
    annotator = table.scorer if is_text(table.scorer) else ""
    for name, values in zip(table.names, table.values.tolist(), strict=True):
        try:
            problem = find_name_problem(name)
            if problem:
                raise ValueError(problem)
            persons = _collect_persons(table.columns, values, options)
        except ValueError as error:
            rejections.append(Rejection(_show_name(name), str(error)))
            continue
        status = "labelled" if persons else "open"
        entries.append(Entry(names=(name,), status=status, persons=persons, annotator=annotator))
    return entries, rejections


def _show_name(name: str) -> str:
    """A row's name as messages show it."""
    return name if is_text(name) else format_value(name)


def count_ignored(table: JointTable) -> int:
    """How many joints are marked as occluded without a position."""
    is_visible = [column.coordinate == "visible" for column in table.columns]
    return int((table.values[:, is_visible] == IGNORED).sum())


def _collect_persons(columns: Sequence[Column], values: Sequence[float], options: ReadOptions) -> list[PersonEntry]:
    """The individuals of one row that have a joint, in the order of the columns."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for column, value in zip(columns, values, strict=True):
        joints = found.setdefault(column.individual, {})
        joints.setdefault(column.joint, {})[column.coordinate] = value
    persons = []
    for joints in found.values():
        points = {}
        for joint, coordinates in joints.items():
            point = _make_point(joint, coordinates, 0.5 if options.half_pixel else 0.0)
            if point is not None:
                points[joint] = point
        if points:
            persons.append(PersonEntry(points))
    return persons


def _make_point(joint: str, coordinates: dict[str, float], offset: float) -> Point | None:
    x = coordinates.get("x", math.nan)
    y = coordinates.get("y", math.nan)
    visible = coordinates.get("visible", 2.0)
    if math.isnan(visible):
        visible = 2.0
    if visible not in (0, 1, 2):
        raise ValueError(f"visible of {joint!r} is {visible:g}; expected 0, 1 or 2")
    if visible < 2 or (math.isnan(x) and math.isnan(y)):
        return None
    if math.isnan(x) or math.isnan(y):
        raise ValueError(f"{joint!r} has one coordinate, expected two or none")
    if not (is_coordinate(x) and is_coordinate(y)):
        raise ValueError(f"{joint!r} is at {x:g}, {y:g}; expected pixels, or nothing")
    return x - offset, y - offset, 2
