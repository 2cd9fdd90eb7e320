"""SLEAP's project files: HDF5 with tables of frames, instances and points, and with JSON.

F frames, I instances, P points of instances that people have placed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import Skeleton
from llpp.errors import DataError
from llpp.files import replace_file
from llpp.oracles.hdf5 import get_group, has_member, import_for_writing, open_for_reading, read_array, read_texts

USER = 0  # kind of an instance that a person has placed
PREDICTED = 1
NONE = -1  # no track, no prediction that an instance was made from
FORMAT = 1.2  # that llpp writes; from 1.1 on, coordinates count from the centre of the first pixel
BODY = 1  # kinds of edges: a limb, and two joints that change places in a mirrored image
SYMMETRY = 2
FRAME = np.dtype(
    [
        ("frame_id", "<u8"),
        ("video", "<u4"),
        ("frame_idx", "<u8"),
        ("instance_id_start", "<u8"),
        ("instance_id_end", "<u8"),
    ]
)
INSTANCE = np.dtype(
    [
        ("instance_id", "<i8"),
        ("instance_type", "u1"),
        ("frame_id", "<u8"),
        ("skeleton", "<u4"),
        ("track", "<i4"),
        ("from_predicted", "<i8"),
        ("score", "<f4"),
        ("point_id_start", "<u8"),
        ("point_id_end", "<u8"),
        ("tracking_score", "<f4"),
    ]
)
POINT = np.dtype([("x", "<f8"), ("y", "<f8"), ("visible", "?"), ("complete", "?")])
PREDICTED_POINT = np.dtype([*POINT.descr, ("score", "<f8")])
NEGATIVE = np.dtype([("video_id", "<u4"), ("frame_idx", "<u8")])


@dataclass(frozen=True)
class SlpContent:
    """What is in a file, before anybody has looked at what it means."""

    version: float  # of the format
    metadata: str  # JSON
    videos: Sequence[str]  # JSON of each
    suggestions: Sequence[str]  # JSON of each
    sources: Mapping[str, str]  # of a video whose images are in the file: JSON of the one that they are from
    frames: NDArray[Any]  # (F,) FRAME, all four with these fields at least
    instances: NDArray[Any]  # (I,) INSTANCE
    points: NDArray[Any]  # (P,) POINT
    negative: NDArray[Any]  # NEGATIVE, frames where a person saw nothing
    has_crops: bool  # whether videos are shown in part, with coordinates of that part


def mentions_sleap(start: bytes) -> bool:
    """Whether the first bytes of an HDF5 file name the tables of SLEAP."""
    return b"videos_json" in start and b"suggestions_json" in start


def read_slp(path: Path) -> SlpContent:
    """Read a file; to be called in the process that `read_isolated` starts.

    Raises:
        DataError: it is no SLEAP project.
    """
    with open_for_reading(path) as file:
        attributes = get_group(file, "metadata").attrs
        sources = {}
        for name in file:
            if has_member(file, name) and name.startswith("video") and name != "videos_json":
                sources[name] = _read_source(file, name)
        negative = np.zeros(0, NEGATIVE)
        if has_member(file, "negative_frames"):
            negative = _read_records(file, "negative_frames", NEGATIVE)
        has_crops = has_member(file, "video_crops") and file["video_crops"].size > 0
        return SlpContent(
            version=float(attributes["format_id"]),
            metadata=_to_text(attributes["json"]),
            videos=read_texts(file, "videos_json"),
            suggestions=_read_suggestions(file),
            sources=sources,
            frames=_read_records(file, "frames", FRAME),
            instances=_read_records(file, "instances", INSTANCE),
            points=_read_records(file, "points", POINT),
            negative=negative,
            has_crops=has_crops,
        )


def _to_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read_suggestions(file: Any) -> list[str]:
    # Without suggestions it is an empty array of numbers.
    return read_texts(file, "suggestions_json") if has_member(file, "suggestions_json") else []


def _read_source(file: Any, name: str) -> str:
    """JSON of the video that images in the file are from; empty if it is not there."""
    member = file[name]
    if not hasattr(member, "keys") or not has_member(member, "source_video"):
        return ""
    return _to_text(member["source_video"].attrs.get("json", ""))


def _read_records(group: Any, name: str, expected: np.dtype[Any]) -> NDArray[Any]:
    """Read a table; older files lack columns that are not needed."""
    array = read_array(group, name)
    names = array.dtype.names or ()
    missing = set(expected.names or ()) - set(names) - {"tracking_score"}
    if missing:
        raise DataError(
            f"{group.file.filename}: {name!r} has no {', '.join(sorted(missing))}; save it again in SLEAP"
        )
    return array


@dataclass(frozen=True)
class SlpFrame:
    """A frame with predictions to write."""

    video: int
    index: int
    score: float  # of all its instances and points
    instances: Sequence[Mapping[str, tuple[float, float]]]  # x, y by joint


def write_slp(
    path: Path,
    skeleton: Skeleton,
    videos: Sequence[Mapping[str, Any]],
    suggestions: Sequence[tuple[int, int]],
    frames: Sequence[SlpFrame],
    provenance: Mapping[str, Any],
) -> None:
    """Replace a file with a SLEAP project of predictions and suggested frames.

    Args:
        path: the file.
        skeleton: of all instances.
        videos: as SLEAP describes them, in JSON.
        suggestions: video and frame of each.
        frames: those with predictions.
        provenance: what SLEAP keeps about a file's origin.

    Raises:
        ConfigError: h5py is not installed.
    """
    h5py = import_for_writing("sleap")
    frame_rows, instance_rows, point_rows = _make_rows(skeleton.joints, frames)

    def write(part: Path) -> None:
        with h5py.File(part, "w") as file:
            metadata = file.create_group("metadata")
            metadata.attrs["format_id"] = FORMAT
            metadata.attrs["json"] = np.bytes_(_make_metadata(skeleton, provenance).encode())
            _write_texts(file, "videos_json", [json.dumps(video) for video in videos])
            _write_texts(file, "tracks_json", [])
            listed = []
            for video, index in suggestions:
                listed.append(json.dumps({"video": str(video), "frame_idx": index, "group": 0}))
            _write_texts(file, "suggestions_json", listed)
            file.create_dataset("frames", data=np.array(frame_rows, FRAME))
            file.create_dataset("instances", data=np.array(instance_rows, INSTANCE))
            file.create_dataset("points", data=np.zeros(0, POINT))
            file.create_dataset("pred_points", data=np.array(point_rows, PREDICTED_POINT))

    replace_file(path, write)


def _write_texts(file: Any, name: str, texts: Sequence[str]) -> None:
    encoded = np.array([text.encode() for text in texts]) if texts else np.zeros(0, "S1")
    file.create_dataset(name, data=encoded)


Rows = list[tuple[Any, ...]]


def _make_rows(joints: Sequence[str], frames: Sequence[SlpFrame]) -> tuple[Rows, Rows, Rows]:
    """The tables of frames, instances and predicted points; each refers to a range of the next one."""
    frame_rows: Rows = []
    instance_rows: Rows = []
    point_rows: Rows = []
    for number, frame in enumerate(frames):
        first = len(instance_rows)
        for instance in frame.instances:
            start = len(point_rows)
            for joint in joints:
                x, y = instance.get(joint, (np.nan, np.nan))
                point_rows.append((x, y, joint in instance, False, frame.score))
            place = len(instance_rows)
            points = (start, len(point_rows))
            instance_rows.append((place, PREDICTED, number, 0, NONE, NONE, frame.score, *points, 0.0))
        frame_rows.append((number, frame.video, frame.index, first, len(instance_rows)))
    return frame_rows, instance_rows, point_rows


def _make_metadata(skeleton: Skeleton, provenance: Mapping[str, Any]) -> str:
    count = len(skeleton.joints)
    links = [_make_link(start, end, BODY, place) for place, (start, end) in enumerate(skeleton.edges)]
    links += [_make_link(left, right, SYMMETRY) for left, right in skeleton.flip_pairs]
    graph = {"name": "Skeleton-0", "num_edges_inserted": len(skeleton.edges)}
    described = {
        "directed": True,
        "graph": graph,
        "links": links,
        "multigraph": True,
        "nodes": [{"id": place} for place in range(count)],
    }
    metadata = {
        "version": "2.0.0",
        "skeletons": [described],
        "nodes": [{"name": joint, "weight": 1.0} for joint in skeleton.joints],
        "videos": [],
        "tracks": [],
        "suggestions": [],
        "negative_anchors": {},
        "provenance": provenance,
    }
    return json.dumps(metadata)


def _make_link(source: int, target: int, kind: int, place: int | None = None) -> dict[str, Any]:
    """An edge; SLEAP names its kind by the Python class that it has for that."""
    name = {"py/type": "sleap.skeleton.EdgeType"}
    link = {"key": 0, "source": source, "target": target, "type": {"py/reduce": [name, {"py/tuple": [kind]}]}}
    return link if place is None else {"edge_insert_idx": place, **link}
