"""SLEAP: a project file per batch, with suggested frames and predicted instances; labels come back in the same file.

A predicted instance is no label. What a person has placed, or made from a prediction, is a user instance.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llpp.datasets.coco.values import is_coordinate
from llpp.errors import DataError
from llpp.files import compute_sha256
from llpp.oracles.answer_files import describe_confidence, find_name_problem, is_text
from llpp.oracles.hdf5 import is_hdf5, read_isolated
from llpp.oracles.slp_file import USER, SlpContent, SlpFrame, mentions_sleap, read_slp, write_slp
from llpp.oracles.tool import (
    Entry,
    FileContent,
    LabelBatch,
    LabellingTool,
    PersonEntry,
    ReadOptions,
    Rejection,
    Size,
    WriteOptions,
)

OLDEST_CENTRED = 1.1  # format in which coordinates count from a pixel's centre; before, from the image's corner
NEWEST = 3.0  # format that is not known
ORIGIN = "llpp"  # key of the provenance
EMBEDDED = "."  # file name of a video whose images are in the project file
# What strangers' JSON and numbers can lead to where something else was expected.
DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


class SleapTool(LabellingTool):
    """Writes a new .slp per batch, never into a user's own; reads any .slp of a known format."""

    name = "sleap"
    title = "SLEAP"
    answered = (
        "An image is answered once it has an instance that a person has placed, or has taken over from a prediction "
        "and changed, is marked as negative, or is no suggestion any more. With label.accept=unchanged, instances "
        "count that were taken over as they are; mere predictions never do."
    )

    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """See `LabellingTool.write`; images of one size are one video."""
        sizes = list(dict.fromkeys(image.size for image in batch.images))
        names: list[list[str]] = [[] for _ in sizes]
        suggestions = []
        frames = []
        offset = 0.5 if options.half_pixel else 0.0
        for image in batch.images:
            video = sizes.index(image.size)
            index = len(names[video])
            names[video].append(f"images/{image.name}")
            suggestions.append((video, index))
            if image.suggested:
                instances = []
                for person in image.suggested:
                    instances.append({joint: (x + offset, y + offset) for joint, (x, y, _) in person.joints.items()})
                frames.append(SlpFrame(video, index, describe_confidence(image.predicted_loss) or 0.0, instances))
        videos = [_describe_video(files, size) for files, size in zip(names, sizes, strict=True)]
        path = folder / f"to_label{options.part}.slp"
        origin = {"project": batch.project, "round": batch.round, "annotator": options.part.removeprefix("_")}
        _keep_labels(path)
        write_slp(path, batch.skeleton, videos, suggestions, frames, {ORIGIN: origin})
        return [path]

    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """See `LabellingTool.describe_steps`."""
        file = files[0]
        return [
            f"In the folder {file.parent}, where SLEAP finds the pictures, start `sleap-label {file.name}`.",
            "Go through the labelling suggestions; double-click a predicted instance to take it over, and correct "
            "it. Predictions that you leave as they are count as open. Mark a frame without animals as negative, and "
            "remove the suggestion of a frame that cannot be labelled.",
            "Save in the same file and type the same llpp command again; a copy can be put into the inbox instead.",
        ]

    def recognises(self, path: Path, start: bytes) -> bool:
        """See `LabellingTool.recognises`."""
        return is_hdf5(start) and (mentions_sleap(start) or path.suffix == ".slp")

    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """See `LabellingTool.read`."""
        content = read_isolated(read_slp, path)
        if not content.version < NEWEST:
            raise DataError(
                f"{path} has SLEAP's format {content.version:g}, this llpp reads those below {NEWEST:g}; update "
                "llpp, or export the labels as COCO JSON"
            )
        if content.has_crops:
            raise DataError(
                f"{path} shows films in part, with coordinates of that part; export the labels as COCO JSON"
            )
        try:
            return _Project(content, options.half_pixel, path.name).read()
        except DAMAGE as error:
            raise DataError(f"{path} is damaged ({error!r}); save it again in SLEAP") from error

    def list_answer_files(self, root: Path, batches: Sequence[Path]) -> list[Path]:
        """See `LabellingTool.list_answer_files`: SLEAP saves in place."""
        files = []
        for batch in batches:
            files += sorted(batch.glob("*.slp"))
        return files


def _keep_labels(path: Path) -> None:
    """Rename a file in which people have labelled, rather than replacing it; it is read under its new name, too."""
    try:
        content = read_isolated(read_slp, path)
    except DataError:
        # There is none, or it was being written when the machine stopped.
        return
    if len(content.points) or len(content.negative):
        path.replace(path.with_name(f"{path.stem}.labelled_{compute_sha256(path)[:8]}.slp"))


def _describe_video(names: Sequence[str], size: Size) -> dict[str, Any]:
    width, height = size
    backend = {
        "filename": names[0],
        "filenames": list(names),
        "height_": height,
        "width_": width,
        "channels_": 3,
        "grayscale": False,
    }
    return {"backend": backend}


class _FrameError(Exception):
    """What is wrong with a frame, in words."""


class _Project:
    """A file whose parts are understood; what is wrong with one frame is said when it is read."""

    def __init__(self, content: SlpContent, half_pixel: bool, file_name: str) -> None:
        self.content = content
        self.file_name = file_name
        self.offset = 0.5 if half_pixel or content.version < OLDEST_CENTRED else 0.0
        metadata = json.loads(content.metadata)
        nodes = metadata["nodes"]
        self.skeletons = []
        for skeleton in metadata["skeletons"]:
            self.skeletons.append([str(nodes[node["id"]]["name"]) for node in skeleton["nodes"]])
        self.videos = [json.loads(video) for video in content.videos]
        self.numbers = _number_videos(self.videos, content)
        self.negative = {(int(video), int(index)) for video, index in content.negative[["video_id", "frame_idx"]]}
        self.suggestions = []
        for text in content.suggestions:
            suggestion = json.loads(text)
            self.suggestions.append((int(suggestion["video"]), int(suggestion["frame_idx"])))
        self.origin = (metadata.get("provenance") or {}).get(ORIGIN)
        # A file that is split among people says whose part it is.
        annotator = self.origin["annotator"] if self.origin else ""
        self.annotator = annotator if is_text(annotator) else ""

    def read(self) -> FileContent:
        """Return an entry per frame, and per suggestion that is no frame yet."""
        entries = []
        rejections = []
        seen = set()
        for row in self.content.frames:
            number = int(row["video"])
            index = int(row["frame_idx"])
            where = f"frame {index} of video {number}"
            try:
                video = self.numbers[number]
                where = name = self._name_frame(self.videos[video], index)
                entry = self._read_frame(row, name)
            except _FrameError as error:
                rejections.append(Rejection(where, f"{error}; save the frame again in SLEAP"))
                continue
            except DAMAGE as error:
                rejections.append(Rejection(where, f"its data are damaged ({error!r}); save it again in SLEAP"))
                continue
            seen.add((video, index))
            entries.append(entry)
        for video, index in self.suggestions:
            if (video, index) not in seen:
                entries += self._list_untouched(video, [index], "open")
        entries += self._find_skipped(seen)
        return FileContent(entries, rejections)

    def _read_frame(self, row: Any, name: str) -> Entry:
        persons = []
        start = int(row["instance_id_start"])
        end = int(row["instance_id_end"])
        if not 0 <= start <= end <= len(self.content.instances):
            raise _FrameError(f"the frame has instances {start} to {end} of {len(self.content.instances)}")
        for instance in self.content.instances[start:end]:
            if instance["instance_type"] == USER:
                joints = self._read_joints(instance)
                if joints:
                    persons.append(PersonEntry(joints))
        status = "open"
        if persons:
            status = "labelled"
        elif (int(row["video"]), int(row["frame_idx"])) in self.negative:
            status = "empty"
        return Entry(names=(name,), status=status, persons=persons, annotator=self.annotator)

    def _read_joints(self, instance: Any) -> dict[str, tuple[float, float, int]]:
        """The joints that are labelled; SLEAP calls the others not visible, and does not know occluded ones."""
        names = self.skeletons[int(instance["skeleton"])]
        start = int(instance["point_id_start"])
        points = self.content.points[start : int(instance["point_id_end"])]
        if len(points) != len(names):
            raise _FrameError(f"an instance has {len(points)} points, expected the skeleton's {len(names)}")
        joints = {}
        for joint, point in zip(names, points, strict=True):
            x = float(point["x"])
            y = float(point["y"])
            if point["visible"] and not math.isnan(x) and not math.isnan(y):
                if not (is_coordinate(x) and is_coordinate(y)):
                    raise _FrameError(f"{joint!r} is at {x:g}, {y:g}, expected pixels")
                joints[joint] = (x - self.offset, y - self.offset, 2)
        return joints

    def _name_frame(self, video: Mapping[str, Any], index: int) -> str:
        """The path of an image, or of a film with the frame's number."""
        backend = video["backend"]
        names = backend.get("filenames")
        if names:
            return _clean_name(names[index])
        name = str(backend["filename"]) if "filename" in backend else str(video["filename"])
        if name != EMBEDDED:
            return f"{_clean_name(name)}#{index:06d}"
        group = str(backend["dataset"]).partition("/")[0]
        source = self.content.sources.get(group)
        if not source:
            return f"{self.file_name}#{index:06d}"
        described = json.loads(source)
        if described["backend"].get("filename") == EMBEDDED:
            raise _FrameError("the images in the file are from another project file")
        return self._name_frame(described, index)

    def _list_untouched(self, video: int, indices: Sequence[int], status: str) -> list[Entry]:
        entries = []
        for index in indices:
            try:
                name = self._name_frame(self.videos[video], index)
            except (_FrameError, *DAMAGE):
                continue
            entries.append(Entry(names=(name,), status=status, annotator=self.annotator))
        return entries

    def _find_skipped(self, seen: set[tuple[int, int]]) -> list[Entry]:
        """Pictures of llpp's own batch whose suggestion a person has removed, and that have no frame.

        A file without any suggestion has lost them all at once, by clearing the list, which says nothing about them.
        """
        if not self.origin or not self.suggestions:
            return []
        listed = seen | set(self.suggestions)
        entries = []
        for video, described in enumerate(self.videos):
            names = described["backend"].get("filenames") or ()
            gone = [index for index in range(len(names)) if (video, index) not in listed]
            entries += self._list_untouched(video, gone, "skipped")
        return entries


def _number_videos(videos: Sequence[Mapping[str, Any]], content: SlpContent) -> dict[int, int]:
    """Positions of videos by the numbers that frames have for them.

    In files with embedded images the numbers are those of the groups video0, video15, … and may have gaps.
    """
    used = {int(number) for number in content.frames["video"]}
    positions = {position: position for position in range(len(videos))}
    if used <= positions.keys() and len(used) == len(videos):
        return positions
    numbers = {}
    for position, video in enumerate(videos):
        group = str(video["backend"].get("dataset") or "").partition("/")[0]
        digits = group.removeprefix("video")
        is_numbered = group.startswith("video") and digits.isdecimal()
        numbers[int(digits) if is_numbered else position] = position
    return numbers


def _clean_name(name: Any) -> str:
    """A path with /, from the last step out of a folder on."""
    parts = str(name).replace("\\", "/").split("/")
    if ".." in parts:
        last = len(parts) - 1 - parts[::-1].index("..")
        parts = parts[last + 1 :]
    cleaned = "/".join(part for part in parts if part)
    problem = find_name_problem(cleaned)
    if problem:
        raise _FrameError(problem)
    return cleaned
