"""The most suspicious labels as a batch for a labelling tool: the old labels to correct, the predictions aside.

In a project of `llpp label` the batch is in the project's folder, and what comes back through the inbox is a newer
answer of the same images. For other datasets it is in the folder of results.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.checking.findings import Finding, has_person_boxes
from llpp.datasets.project.asked_dataset import AskedDataset
from llpp.errors import ConfigError, DataError
from llpp.files import replace_bytes, replace_file, replace_text
from llpp.journal.answers import PersonLabel
from llpp.journal.folder import LabellingFolder
from llpp.labelling.asked import AskedRow, list_batches, list_check_dirs, read_asked, read_rows, write_asked
from llpp.labelling.batch_folder import IMAGES, README, name_copies
from llpp.labelling.suggestions import keep_inside
from llpp.oracles.tool import AskedImage, LabelBatch, LabellingTool, WriteOptions
from llpp.tasks.pose.task import PoseTask

PREDICTED = "_predicted"  # in the names of files that have the predictions
FOLDER = "batch"  # below the results, where there is no project
# Their batches are written into the user's own project, where images of an earlier batch are labelled already.
WRITE_INTO_PROJECTS = ("deeplabcut", "lightning_pose")
JPEG_QUALITY = 95


@dataclass(frozen=True)
class _Person:
    image: str  # id
    row: int  # of the dataset
    finding: Finding | None  # None: another person of the image


def check_tool(tool: LabellingTool) -> None:
    """Raise ConfigError if a batch of old labels cannot be written for a tool."""
    if tool.name in WRITE_INTO_PROJECTS:
        raise ConfigError(
            f"{tool.title} shows labels from your own project, which llpp check does not write into; correct the "
            "images that labels.csv names there, or use --tool coco, cvat, label_studio, sleap or yolo"
        )


def write_check_batch(
    task: PoseTask,
    findings: Sequence[Finding],
    tool: LabellingTool,
    out: Path,
    round_number: int,
    half_pixel: bool,
    command: str,
) -> Path:
    """Write a batch of the images of some labels, and return its README.txt.

    Args:
        task: of the run; its dataset has the old labels.
        findings: the most suspicious ones, in their order.
        tool: writes its files.
        out: folder of results.
        round_number: rounds that the run has committed.
        half_pixel: see `WriteOptions`.
        command: to type when the batch of a project is corrected.

    Raises:
        DataError: an image cannot be read or copied.
    """
    dataset = task.dataset
    by_image = _list_persons(task, findings)
    folder = out / FOLDER
    root = folder
    project = dataset.name
    last_step = ""
    if isinstance(dataset, AskedDataset):
        folder = _choose_folder(dataset.folder, list(by_image))
        root = dataset.root
        project = dataset.project.name
        last_step = command
    images = []
    predicted = []
    endings = [_get_ending(task, persons[0].row) for persons in by_image.values()]
    taken, others = _list_taken_names(task, folder)
    names = name_copies(list(zip(by_image, endings, strict=True)), taken, others)
    if not isinstance(dataset, AskedDataset):
        _remove_other_copies(folder / IMAGES, set(names))
    for rank, (name, (image, persons)) in enumerate(zip(names, by_image.items(), strict=True), start=1):
        path = folder / IMAGES / name
        size = _copy_image(task, persons[0].row, path)
        suspected = [person.finding for person in persons if person.finding is not None]
        asked = AskedImage(
            image=image,
            path=path,
            name=name,
            relative="",
            size=size,
            role="train",
            rank=rank,
            reason="; ".join(finding.details for finding in suspected),
            suggested=[_make_label(task, person.row) for person in persons],
        )
        images.append(asked)
        seen = [_make_prediction(task, finding) for finding in suspected]
        predicted.append(replace(asked, suggested=keep_inside(seen, size)))
    batch = LabelBatch(project, round_number, task.labels.skeleton, images, root)
    tool.write(replace(batch, images=predicted), folder, WriteOptions(half_pixel=half_pixel, part=PREDICTED))
    files = tool.write(batch, folder, WriteOptions(half_pixel=half_pixel))
    readme = folder / README
    replace_text(readme, _format_readme(batch, tool, files, folder, last_step))
    rows = [AskedRow(asked.image, asked.name, asked.role, asked.rank, True, None, asked.reason) for asked in images]
    write_asked(rows, {}, folder)
    return readme


def _list_persons(task: PoseTask, findings: Sequence[Finding]) -> dict[str, list[_Person]]:
    """All labelled persons of the images of some findings, by image, in the order of the findings."""
    dataset = task.dataset
    labelled = np.flatnonzero(dataset.records.labels.is_labelled)
    rows_of_image: dict[str, list[int]] = {}
    for row, image in zip(labelled.tolist(), dataset.records.images.take(labelled), strict=True):
        rows_of_image.setdefault(image, []).append(row)
    found = {finding.row: finding for finding in findings}
    persons: dict[str, list[_Person]] = {}
    for finding in findings:
        name = _name_image(task, finding.row)
        if name not in persons:
            rows = rows_of_image[dataset.records.images[finding.row]]
            persons[name] = [_Person(name, row, found.get(row)) for row in rows]
    return persons


def _name_image(task: PoseTask, row: int) -> str:
    dataset = task.dataset
    if isinstance(dataset, AskedDataset):
        return dataset.project_index.ids[int(dataset.index[row])]
    return dataset.records.images[row]


def _choose_folder(labelling: LabellingFolder, images: Sequence[str]) -> Path:
    """The last folder of a check if it has the same images, else a new one: answers find images by their names."""
    folders = list_check_dirs(labelling)
    for number, folder in folders.items():
        asked = read_rows(folder / "asked.csv") or []
        if [row.image for row in asked] == list(images) and number == max(folders):
            return folder
    number = max(folders, default=-1) + 1
    return labelling.path / f"check_{number:02d}"


def _list_taken_names(task: PoseTask, folder: Path) -> tuple[list[str], list[str]]:
    """Names of copies that are given already, and ids of the project's images; see `name_copies`."""
    dataset = task.dataset
    if not isinstance(dataset, AskedDataset):
        return [], []
    taken = []
    for number in list_batches(dataset.folder):
        taken += [row.name for row in read_asked(dataset.folder, number) or []]
    for other in list_check_dirs(dataset.folder).values():
        if other != folder:
            taken += [row.name for row in read_rows(other / "asked.csv") or []]
    return taken, list(dataset.project_index.ids)


def _get_ending(task: PoseTask, row: int) -> str:
    return task.dataset.paths[row].suffix if isinstance(task.dataset, AskedDataset) else ".jpg"


def _copy_image(task: PoseTask, row: int, target: Path) -> tuple[int, int]:
    """Copy the image of a record, as its labels mean it, and return its width and height."""
    dataset = task.dataset
    if isinstance(dataset, AskedDataset):
        source = dataset.paths[row]
        try:
            replace_file(target, lambda part: _copy_content(source, part))
        except FileNotFoundError as error:
            raise DataError(f"image {source} is missing; put it back, or remove it from the project") from error
        image = int(dataset.index[row])
        return int(dataset.project_index.width[image]), int(dataset.project_index.height[image])
    # The file may be turned, or of another kind than tools read.
    pixels: NDArray[np.uint8] = dataset.load(row)
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    replace_bytes(target, content.tobytes())
    return pixels.shape[1], pixels.shape[0]


def _remove_other_copies(folder: Path, names: set[str]) -> None:
    """Remove the copies of an earlier check, since people import all images of the folder."""
    for path in folder.glob("*.jpg"):
        if path.name not in names:
            path.unlink()


def _copy_content(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _make_label(task: PoseTask, row: int) -> PersonLabel:
    """The old label of a record."""
    joints = {}
    visible = task.labels.visible[row].tolist()
    for name, (x, y), code in zip(task.part_names, task.labels.joints[row].tolist(), visible, strict=True):
        if code:
            joints[name] = (x, y, code)
    return PersonLabel(task.dataset.records.ids[row], joints, _get_box(task, row))


def _make_prediction(task: PoseTask, finding: Finding) -> PersonLabel:
    """What a network sees in the place of a label."""
    points = finding.predicted.tolist() if finding.predicted is not None else []
    joints = {}
    for name, (x, y) in zip(task.part_names, points, strict=True):
        joints[name] = (x, y, 2)
    return PersonLabel(finding.id, joints, _get_box(task, finding.row))


def _get_box(task: PoseTask, row: int) -> tuple[float, float, float, float] | None:
    """The box of a record; None where boxes do not say where persons are."""
    records = task.dataset.records
    if not has_person_boxes(task.dataset) or not np.isfinite(records.boxes[row]).all():
        return None
    x, y, width, height = records.boxes[row].tolist()
    return (x, y, width, height)


def _format_readme(batch: LabelBatch, tool: LabellingTool, files: Sequence[Path], folder: Path, command: str) -> str:
    steps = tool.describe_steps(batch, [path.absolute() for path in files])
    lines = [
        f"{len(batch.images)} images whose labels look wrong, to check in {tool.title}.",
        "Each shows its present label; leave it as it is where it is right.",
        f"What the network sees instead is in check.html, and in the files with {PREDICTED} in their names, which "
        "can be opened in a second project.",
        "",
        f"1. {steps[0]}",
        f"2. {steps[1]}",
    ]
    if command:
        lines += [f"3. {steps[2]}", "", f"Then type: {command}"]
    else:
        lines += [
            "3. Export what you have corrected, and put it into the annotation file of your dataset: images are "
            f"called as in {folder.absolute() / IMAGES}, and asked.csv says which image of the dataset each is.",
        ]
    return "\n".join(lines) + "\n"
