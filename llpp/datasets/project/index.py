"""What a project knows about each of its images, as one table that is brought up to date at every start.

N images, in the order of their ids.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llpp.files import replace_file
from llpp.ids import TEXT, Ids
from llpp.run_dir.checked_tables import read_table, write_table

THUMBNAIL = 32  # pixels, both sides
# ok: as it was when it was found. missing: the file is gone. changed: it has another content than when it was found.
# unreadable: no image. apart: too near to a frame of another split to be asked for.
CONDITIONS = ("ok", "missing", "changed", "unreadable", "apart")
LEFT_OUT = {
    "missing": "whose file is missing",
    "changed": "whose file has changed (put the old one back, or give llpp label the setting label.changed=accept)",
    "unreadable": "that cannot be read",
    "apart": "within two seconds of a frame of another split",
}
SCHEMA = pa.schema(
    [
        ("id", TEXT),
        ("file", TEXT),
        ("is_own", pa.bool_()),
        ("found", TEXT),
        ("bytes", pa.int64()),
        ("changed_ns", pa.int64()),
        ("digest", pa.uint64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("condition", pa.uint8()),
        ("problem", TEXT),
        ("group", TEXT),
        ("is_test", pa.bool_()),
        ("film", TEXT),
        ("frame", pa.int64()),
        ("seconds", pa.float64()),
        ("thumbnail", pa.binary(THUMBNAIL * THUMBNAIL)),
    ]
)


@dataclass(frozen=True, eq=False)
class ProjectIndex:
    """N images."""

    ids: Ids  # path below the root when it was first found, or film.mp4#001234
    files: Ids  # of the pixels: below the root, or, where `is_own`, below the labelling folder
    is_own: NDArray[np.bool_]  # whether the file is llpp's: a frame of a film, or an upright copy
    found: Ids  # path below the root by now, after renaming; of a frame, its film's
    bytes: NDArray[np.int64]
    changed_ns: NDArray[np.int64]
    digest: NDArray[np.uint64]  # of the content
    width: NDArray[np.int32]  # pixels, upright
    height: NDArray[np.int32]
    condition: NDArray[np.uint8]  # position in CONDITIONS
    problem: Ids  # what is wrong, in words; empty if nothing is
    group: Ids  # what must not stand in two splits
    is_test: NDArray[np.bool_]  # whether its group is for testing
    film: Ids  # id of the film; empty for images
    frame: NDArray[np.int64]  # number in the film, from 0; -1 for images
    seconds: NDArray[np.float64]  # time in the film; NaN for images
    thumbnail: NDArray[np.uint8]  # (N, 32, 32) grey


def write_index(index: ProjectIndex, path: Path) -> None:
    """Replace the file of an index."""
    count = len(index.ids)
    thumbnails = [index.thumbnail[row].tobytes() for row in range(count)]
    columns = [
        index.ids.array,
        index.files.array,
        pa.array(index.is_own),
        index.found.array,
        pa.array(index.bytes),
        pa.array(index.changed_ns),
        pa.array(index.digest),
        pa.array(index.width),
        pa.array(index.height),
        pa.array(index.condition),
        index.problem.array,
        index.group.array,
        pa.array(index.is_test),
        index.film.array,
        pa.array(index.frame),
        pa.array(index.seconds),
        pa.array(thumbnails, SCHEMA.field("thumbnail").type),
    ]
    table = pa.table(columns, schema=SCHEMA)
    replace_file(path, lambda part: write_table(part, table))


def read_index(path: Path) -> ProjectIndex | None:
    """Read a file that `write_index` wrote; None if it is missing or damaged: it can be made again."""
    table = read_table(path, SCHEMA)
    if table is None:
        return None
    raw = b"".join(table["thumbnail"].to_pylist())
    thumbnails = np.frombuffer(raw, dtype=np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
    return ProjectIndex(
        ids=Ids(table["id"]),
        files=Ids(table["file"]),
        is_own=table["is_own"].to_numpy(),
        found=Ids(table["found"]),
        bytes=table["bytes"].to_numpy(),
        changed_ns=table["changed_ns"].to_numpy(),
        digest=table["digest"].to_numpy(),
        width=table["width"].to_numpy(),
        height=table["height"].to_numpy(),
        condition=table["condition"].to_numpy(),
        problem=Ids(table["problem"]),
        group=Ids(table["group"]),
        is_test=table["is_test"].to_numpy(),
        film=Ids(table["film"]),
        frame=table["frame"].to_numpy(),
        seconds=table["seconds"].to_numpy(),
        thumbnail=thumbnails,
    )


def describe_conditions(index: ProjectIndex) -> list[str]:
    """A sentence about the images of each condition but ok, with an example."""
    sentences = []
    for place, condition in enumerate(CONDITIONS):
        rows = np.flatnonzero(index.condition == place)
        if condition == "ok" or not len(rows):
            continue
        what = "1 image" if len(rows) == 1 else f"{len(rows):,} images"
        verb = "is" if len(rows) == 1 else "are"
        sentences.append(f"{what} {LEFT_OUT[condition]} {verb} left out, for example {index.ids[int(rows[0])]}")
    return sentences
