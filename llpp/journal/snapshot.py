"""What a round trains on: the state of all answers when it began, as one file that never changes.

P persons of the answered and the asked images, K joints.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llpp.errors import StateError
from llpp.files import replace_file
from llpp.ids import TEXT, Ids
from llpp.run_dir.checked_tables import read_table, write_table

# labelled, empty, skipped: as answered. open: asked for, not answered yet. missing: its file is gone or has changed.
STATES = ("labelled", "empty", "skipped", "open", "missing")
FACTS = b"llpp_snapshot"  # name of the metadata


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The labels of a project at one moment. An image that is in no row has never been asked for."""

    round: int
    budget: int  # how many images of the training groups are to be asked for next
    joints: Sequence[str]  # (K,) names
    ids: Ids  # (P,) of persons; of an image without labels its own id
    images: Ids  # (P,)
    state: NDArray[np.uint8]  # (P,) position in STATES
    points: NDArray[np.float32]  # (P, K, 2) pixels, NaN where not labelled
    visible: NDArray[np.uint8]  # (P, K) 0 | 1 | 2
    boxes: NDArray[np.float32]  # (P, 4) x, y, width, height; NaN where not known
    seconds: float | None = None  # that people have taken for all their answers, as far as their tools say so


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Replace a file with a snapshot."""
    facts: dict[str, Any] = {
        "round": snapshot.round, "budget": snapshot.budget, "joints": list(snapshot.joints)
    }  # fmt: skip
    if snapshot.seconds is not None:
        facts["seconds"] = snapshot.seconds
    count = len(snapshot.joints)
    schema = _make_schema(count).with_metadata({FACTS: json.dumps(facts).encode()})
    columns = [
        snapshot.ids.array,
        snapshot.images.array,
        pa.array(snapshot.state),
        _to_lists(snapshot.points, 2 * count),
        _to_lists(snapshot.visible, count),
        _to_lists(snapshot.boxes, 4),
    ]
    table = pa.table(columns, schema=schema)
    replace_file(path, lambda part: write_table(part, table))


def read_snapshot(path: Path) -> Snapshot:
    """Read a file that `write_snapshot` wrote; StateError if it is missing or damaged."""
    damage = StateError(f"{path} is missing or damaged; restore it from a backup")
    facts = _read_facts(path)
    if facts is None:
        raise damage
    table = read_table(path, _make_schema(len(facts["joints"])))
    if table is None:
        raise damage
    count = len(facts["joints"])
    return Snapshot(
        round=facts["round"],
        budget=facts["budget"],
        joints=tuple(facts["joints"]),
        ids=Ids(table["id"]),
        images=Ids(table["image"]),
        state=table["state"].to_numpy(),
        points=_from_lists(table["points"]).reshape(-1, count, 2),
        visible=_from_lists(table["visible"]).reshape(-1, count),
        boxes=_from_lists(table["box"]).reshape(-1, 4),
        seconds=facts.get("seconds"),
    )


def list_labels(snapshot: Snapshot) -> dict[str, tuple[bytes, bytes]]:
    """The labels in a snapshot by the id of their person, in a form that can be compared."""
    labels = {}
    for row in np.flatnonzero((snapshot.visible > 0).any(axis=1)).tolist():
        labels[snapshot.ids[row]] = (snapshot.points[row].tobytes(), snapshot.visible[row].tobytes())
    return labels


def count_changed_labels(before: Snapshot, now: Snapshot) -> int:
    """How many persons have other labels than before, or none any more; new ones do not count."""
    new_labels = list_labels(now)
    return sum(new_labels.get(person) != label for person, label in list_labels(before).items())


def _make_schema(count: int) -> pa.Schema:
    """The columns of a project with so many joints."""
    return pa.schema(
        [
            ("id", TEXT),
            ("image", TEXT),
            ("state", pa.uint8()),
            ("points", pa.list_(pa.float32(), 2 * count)),
            ("visible", pa.list_(pa.uint8(), count)),
            ("box", pa.list_(pa.float32(), 4)),
        ]
    )


def _read_facts(path: Path) -> dict[str, Any] | None:
    """The facts in a file's metadata; None if it has none."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        facts = json.loads(metadata[FACTS])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    is_complete = isinstance(facts, dict) and {"round", "budget", "joints"} <= set(facts)
    return facts if is_complete else None


def _to_lists(values: NDArray[Any], width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)


def _from_lists(column: pa.ChunkedArray) -> NDArray[Any]:
    flat = column.combine_chunks().flatten()
    result: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return result
