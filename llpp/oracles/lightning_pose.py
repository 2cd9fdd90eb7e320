"""Lightning Pose and its app: a queue of frames to label, and CollectedData.csv with the labels.

The queue is a file next to the labels, with a JSON object per line. The app shows its frames, and takes a frame off
when it is saved. Batches are put into the same queue; nothing else of the project is changed.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from llpp.errors import ConfigError, DataError
from llpp.files import read_bytes, read_start, read_text, replace_bytes, replace_text
from llpp.oracles.answer_files import find_name_problem
from llpp.oracles.joint_table import count_ignored, is_deeplabcut_csv, make_entries, read_table, starts_like_table
from llpp.oracles.labeled_data import make_batch_folder
from llpp.oracles.tool import (
    UNCHANGED,
    AskedImage,
    Entry,
    FileContent,
    LabelBatch,
    LabellingTool,
    ReadOptions,
    Rejection,
    WriteOptions,
)

LABELS = "CollectedData.csv"
QUEUE = "CollectedData.unlabeled.jsonl"
MODEL = "llpp"  # how the queue names the model that made a prediction
ASKED_KEY = "llpp_asked_queue"
MAX_BYTES = 1 << 28


class LightningPoseTool(LabellingTool):
    """Puts batches into the queue of Lightning Pose's app; reads CollectedData.csv and the files of views."""

    name = "lightning_pose"
    title = "Lightning Pose"
    copies_images = False
    answered = (
        "An image is answered once a person has placed or moved a joint in it and saved it, or has removed it from "
        f"the list because it cannot be labelled; its files cannot say that nobody is there. {UNCHANGED}"
    )

    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """See `LabellingTool.write`; the queue is in the project's root, and keeps what others have put there.

        Raises:
            ConfigError: the project has several films of each moment, which have to be asked for together; or the
                batch is split among people, who have one queue.
        """
        if options.part:
            raise ConfigError(
                "Lightning Pose has one queue for all who label a project, so that a batch cannot be split; set "
                "label.annotators=1, or another tool=, such as tool=label_studio"
            )
        views = _read_views(batch.root)
        if len(views) > 1:
            raise ConfigError(
                f"{batch.root} has the views {', '.join(views)}, and Lightning Pose labels all views of a moment "
                "together, which llpp cannot ask for; set another tool=, such as tool=label_studio"
            )
        frames = {}
        for image in batch.images:
            frame = image.relative or _copy_into_project(batch, image)
            frames[frame] = _make_line(frame, image, batch.round, options)
        _merge_into_queue(batch.root, frames)
        asked = folder / "asked_queue.json"
        # From here, so that both folders can be moved together.
        queue = os.path.relpath(batch.root.resolve() / QUEUE, folder.resolve())
        content = {ASKED_KEY: Path(queue).as_posix(), "frames": list(frames)}
        replace_text(asked, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return [batch.root / QUEUE, asked]

    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """See `LabellingTool.describe_steps`."""
        return [
            f"Start the app with `litpose run_app` and open the project in {batch.root}: its list of unlabelled "
            f"frames has those of {files[0].name}.",
            "Correct or place the joints of each frame and save it; remove a frame that cannot be labelled from "
            "that list.",
            f"Saved frames are in {LABELS} at once: type the same llpp command again.",
        ]

    def recognises(self, path: Path, start: bytes) -> bool:
        """See `LabellingTool.recognises`: tables of one animal that are not DeepLabCut's, see `is_deeplabcut_csv`."""
        if _starts_like_asked(start):
            return True
        return starts_like_table(start) and not is_deeplabcut_csv(path, start)

    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """See `LabellingTool.read`."""
        try:
            start = read_start(path, 4096)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); save it again") from error
        if _starts_like_asked(start):
            return FileContent(_find_skipped(path))
        table = read_table(path)
        if table.is_prediction:
            reason = (
                "it holds predictions, as its columns `likelihood` say, and these never count as labels; leave it out"
            )
            return FileContent((), (Rejection(path.name, reason),))
        entries, rejections = make_entries(table, options)
        remarks = []
        ignored = count_ignored(table)
        if ignored:
            remarks.append(
                f"{ignored} joints are marked as occluded (visible 1), whose coordinates mean nothing in Lightning "
                "Pose; they count as not labelled"
            )
        return FileContent(entries, tuple(rejections), tuple(remarks))

    def list_answer_files(self, root: Path, batches: Sequence[Path]) -> list[Path]:
        """See `LabellingTool.list_answer_files`: the labels of all views, and what batches have asked for."""
        files = [root / LABELS]
        for view in _read_views(root):
            files.append(root / f"CollectedData_{view}.csv")
        for batch in batches:
            files.append(batch / "asked_queue.json")
        return [file for file in files if file.is_file()]


def _read_views(root: Path) -> list[str]:
    """The names of the project's views; nothing if it has one, or no project.yaml that can be read."""
    try:
        project = yaml.safe_load(read_text(root / "project.yaml", MAX_BYTES))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []
    views = project.get("view_names") if isinstance(project, dict) else None
    if not isinstance(views, list):
        return []
    # As part of a file's name, a view must not lead out of the folder.
    return [view for view in views if isinstance(view, str) and "/" not in view and "\\" not in view]


def _copy_into_project(batch: LabelBatch, image: AskedImage) -> str:
    """Copy a frame that is not below the project's root; the app shows no others."""
    target = make_batch_folder(batch) / image.name
    replace_bytes(target, read_bytes(image.path, MAX_BYTES))
    return target.relative_to(batch.root).as_posix()


def _make_line(frame: str, image: AskedImage, number: int, options: WriteOptions) -> dict[str, Any]:
    """One line of the queue; without a suggestion the app starts from nothing."""
    if not image.suggested:
        return {"frame_path": frame, "predictions": None}
    if len(image.suggested) > 1:
        raise ConfigError(
            f"{image.image} has {len(image.suggested)} individuals, and Lightning Pose knows one; set "
            "another tool=, such as tool=label_studio"
        )
    offset = 0.5 if options.half_pixel else 0.0
    points = []
    for joint, (x, y, _) in image.suggested[0].joints.items():
        points.append({"keypoint_name": joint, "x": x + offset, "y": y + offset})
    # The same batch is always written with the same bytes, so the time of day is left out.
    predictions = {"model_name": f"{MODEL} round {number}", "date_time": 0, "predictions": points}
    return {"frame_path": frame, "predictions": predictions}


def _merge_into_queue(root: Path, frames: Mapping[str, Mapping[str, Any]]) -> None:
    """Add lines to the queue, or replace llpp's own ones; lines with another model's prediction stay as they are.

    A frame that is labelled already is not put into the queue again.
    """
    missing = dict(frames)
    for frame in _list_labelled(root / LABELS):
        missing.pop(frame, None)
    lines = []
    for line in _read_lines(root / QUEUE):
        entry = _parse_line(line)
        frame_path = entry.get("frame_path")
        if isinstance(frame_path, str) and frame_path in missing:
            own = missing.pop(frame_path)
            if not _is_of_other_model(entry):
                line = json.dumps(own, ensure_ascii=False)
        lines.append(line)
    for own in missing.values():
        lines.append(json.dumps(own, ensure_ascii=False))
    replace_text(root / QUEUE, "".join(f"{line}\n" for line in lines))


def _list_labelled(path: Path) -> list[str]:
    """The frames that a file of labels has a row of."""
    if not path.is_file():
        return []
    return list(read_table(path).names)


def _read_lines(path: Path) -> list[str]:
    """The lines of a queue; DataError if it is not text, since nothing of it may be lost."""
    try:
        text = read_text(path, MAX_BYTES)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); repair or remove it") from error
    *lines, last = text.split("\n")
    # A line that is cut off means nothing to the app, and the next one must not be added to it.
    if _parse_line(last):
        lines.append(last)
    return [line for line in lines if line]


def _parse_line(line: str) -> Mapping[str, Any]:
    """One line of a queue; nothing if it is not what the app writes."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _is_of_other_model(entry: Mapping[str, Any]) -> bool:
    predictions = entry.get("predictions")
    if not isinstance(predictions, dict):
        return False
    return not str(predictions.get("model_name", "")).startswith(MODEL)


def _starts_like_asked(start: bytes) -> bool:
    return start.lstrip().startswith(b"{") and f'"{ASKED_KEY}"'.encode() in start[:200]


def _find_skipped(path: Path) -> list[Entry]:
    """Frames of a batch that are neither labelled nor in the queue any more: a person has removed them.

    Without the queue, or if none of the batch is left, as in a new queue, nothing is known.

    Raises:
        DataError: the list of what was asked for is damaged.
    """
    try:
        content = json.loads(read_text(path, MAX_BYTES))
        queue = path.parent.resolve() / content[ASKED_KEY]
        frames = content["frames"]
        if not isinstance(frames, list):
            raise TypeError("no list of frames")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}); restore it from a backup") from error
    # The list may come from elsewhere: it names a queue, and no other file is opened for it.
    if queue.name != QUEUE or not queue.is_file():
        return []
    known = set(_list_labelled(queue.with_name(LABELS)))
    for line in _read_lines(queue):
        known.add(str(_parse_line(line).get("frame_path")))
    skipped = []
    for frame in frames:
        if not find_name_problem(frame) and frame not in known:
            skipped.append(Entry(names=(frame,), status="skipped"))
    return skipped if len(skipped) < len(frames) else []
