"""A folder of images and films, with the labels that people have given so far.

I images in the project's index, N records: one for each box of an image, K joints.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Records
from llpp.datasets.flip_pairs import AUTO, FlipPairs
from llpp.datasets.groups import suggest_groups
from llpp.datasets.images import ImageFiles, Reading, is_file, read_image, read_reduced
from llpp.datasets.pose import PoseLabels, Skeleton, compute_joint_boxes
from llpp.datasets.project.asked_dataset import NEVER_ASKED, AskedDataset
from llpp.datasets.project.boxes import IMAGE, read_boxes
from llpp.datasets.project.index import CONDITIONS, ProjectIndex, describe_conditions, read_index
from llpp.datasets.project.open_project import (
    ProjectOptions,
    open_project,
    read_pixel_format,
)
from llpp.datasets.project.project_file import ProjectFile, read_project
from llpp.datasets.project.skeleton_file import build_skeleton
from llpp.errors import DataError, StateError
from llpp.ids import Ids
from llpp.journal.answers import PersonLabel
from llpp.journal.fold import fold_answers
from llpp.journal.folder import LabellingFolder, find_labelling_folder
from llpp.journal.journal import read_journal
from llpp.journal.snapshot import STATES, Snapshot, read_snapshot
from llpp.setting_rules import check_setting

OK = CONDITIONS.index("ok")
Box = tuple[float, float, float, float]  # x, y, width, height


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The labels of P persons, and the states of images."""

    states: Mapping[str, int]  # by image: position in STATES; an image that was never asked for is not there
    persons: Mapping[str, Sequence[PersonLabel]]  # by image, of those that are labelled


@dataclass(frozen=True)
class Person:
    """One record to be."""

    id: str
    row: int  # of its image in the index
    box: Box | None  # None: as its joints are
    label: PersonLabel | None
    state: int


class ProjectDataset(AskedDataset):
    """Images of a project; those of its test groups are for testing, once they are labelled.

    Without `snapshot`, the project is opened (see `open_project`), and the records are what is labelled by now.
    With it, project.json, the index and the snapshot are read and nothing is written: the records are all images of
    the training groups, labelled or not, and the labelled ones of the test groups.

    Args:
        root: the folder of images and films.
        labelling: the folder of labels; None: `labelling/NAME`, by the name of `root`.
        joints: see `skeleton_file.read_joints`.
        boxes: image (one person in each), a COCO file of boxes, or onnx:MODEL; None: as at the project's start,
            which was with image if nothing was said.
        group: what images must not be in two splits: auto (as at the project's start), image, or see
            `groups.assign_groups`.
        segment: seconds of a film that belong together; None: as at the project's start, 60 if nothing was said.
        frames: most frames that are cut from all films.
        every: each so many frames of a film, one may be cut; None: as many as `frames` allows.
        unlabelled: without a snapshot, training images without labels are records, too.
        snapshot: labels.parquet of a round.
        conflict: which answer counts where two annotators of an image disagree, newest or mean; see `fold_answers`.
            A snapshot has been folded already.
        flip_pairs: joints that change places in a mirrored image: auto (by their names), or all pairs of names.
        white: see `pixel_format.choose_pixel_format`.
        background: the same.
    """

    name = "project"
    has_chosen_pairs = True

    def __init__(
        self,
        root: str,
        labelling: str | None = None,
        joints: str | Sequence[str] | None = None,
        boxes: str | None = None,
        group: str | None = "auto",
        segment: float | None = None,
        frames: int = 5000,
        every: int | None = None,
        unlabelled: bool = False,
        snapshot: str | None = None,
        conflict: Literal["newest", "mean"] = "newest",
        flip_pairs: FlipPairs = AUTO,
        white: int | str | None = None,
        background: Sequence[int] | str | None = None,
    ) -> None:
        check_setting("dataset.conflict", conflict)
        self.root = Path(root).resolve()
        self.folder = find_labelling_folder(self.root, labelling)
        remarks: list[str] = []
        if snapshot is None:
            options = ProjectOptions(joints, boxes, group, segment, frames, every, white, background)
            self.project, self.project_index, remarks = open_project(self.root, self.folder, options)
            labels = _read_journal(self.folder, conflict)
        else:
            self.project, self.project_index = _read_project(self.folder)
            content = read_snapshot(Path(snapshot))
            labels = _read_labels(content, self.project)
            self.budget = content.budget
            # The next start may find other labels, and images that are not there now.
            self.is_live = True
        self.skeleton = build_skeleton(self.project.joints, self.project.edges, flip_pairs)
        self.pixels = read_pixel_format(self.project.facts)
        self.decided = self.pixels.as_settings()
        self.new_reading = Reading("upright")

        given_boxes = read_boxes(self.project.boxes, self.folder)
        wants_all = unlabelled or snapshot is not None
        persons = list(_list_persons(self.project_index, given_boxes, labels, wants_all))
        notes = [*remarks, *_describe_left_out(self.project_index, given_boxes, labels)]
        if not persons:
            raise _make_empty_error(self.folder, notes)
        self.index = np.array([person.row for person in persons], dtype=np.int64)  # (N,) rows of the project's index
        self.states = np.array([person.state for person in persons], dtype=np.uint8)  # (N,) in STATES or NEVER_ASKED
        self.records = _build_records(persons, self.project_index, self.skeleton, self.project, notes)
        self.paths = ImageFiles(Path(), _list_paths(self.project_index, self.index, self.root, self.folder))
        # People label for training and testing; a few images for validation as well would be taken from these.
        self.empty_splits = frozenset({"val"})
        if snapshot is not None and not len(self.records.select_rows("test")):
            # A project whose first labels are all in training groups is measured as soon as it has others.
            self.empty_splits = frozenset({"val", "test"})

    def get_file_name(self, row: int) -> str:
        """See `ImageDataset.get_file_name`; a frame of a film, or an upright copy, is below the labelling folder."""
        return self.project_index.files[int(self.index[row])]

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return read_image(self.paths[row], pixels=self.pixels)

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `ImageDataset.load_reduced`."""
        return read_reduced(self.paths[row], most, pixels=self.pixels)

    def check(self) -> None:
        """See `ImageDataset.check`."""
        if not any(map(is_file, self.paths)):
            raise DataError(
                f"none of the {len(self.paths):,} images is there, for example {self.paths[0]}; put them back, or "
                "set dataset.root=… and dataset.labelling=…"
            )


def _read_project(folder: LabellingFolder) -> tuple[ProjectFile, ProjectIndex]:
    """Read what the starting process has written."""
    project = read_project(folder.project_file)
    if project is None:
        raise StateError(f"{folder.project_file} is missing; run `llpp label` on the project's folder again")
    index = read_index(folder.index)
    if index is None:
        raise StateError(f"{folder.index} is missing or damaged; run `llpp label` on the project's folder again")
    return project, index


def _read_journal(folder: LabellingFolder, conflict: str) -> LabelTable:
    """The labels by now."""
    folded = fold_answers(read_journal(folder.journal), conflict)
    states = {}
    persons = {}
    for image, answer in folded.items():
        if answer.kind is None:
            # All answers were withdrawn: the image is as if it had never been asked for.
            continue
        states[image] = STATES.index(answer.kind)
        if answer.kind == "labelled":
            persons[image] = list(answer.persons)
    return LabelTable(states, persons)


def _read_labels(snapshot: Snapshot, project: ProjectFile) -> LabelTable:
    """The labels of a snapshot; StateError if it names other joints than the project."""
    if list(snapshot.joints) != list(project.joints):
        raise StateError(
            f"the snapshot names the joints {', '.join(snapshot.joints)}, project.json {', '.join(project.joints)}; "
            "restore the file that has changed from a backup"
        )
    states = {}
    persons: dict[str, list[PersonLabel]] = {}
    for row, (id_, image) in enumerate(zip(snapshot.ids, snapshot.images, strict=True)):
        state = int(snapshot.state[row])
        states[image] = state
        if STATES[state] != "labelled":
            continue
        joints = {}
        for name, (x, y), visible in zip(
            snapshot.joints, snapshot.points[row].tolist(), snapshot.visible[row].tolist(), strict=True
        ):
            if visible:
                joints[name] = (x, y, visible)
        x, y, width, height = snapshot.boxes[row].tolist()
        box = (x, y, width, height) if np.isfinite(snapshot.boxes[row]).all() else None
        persons.setdefault(image, []).append(PersonLabel(id_, joints, box))
    return LabelTable(states, persons)


def _list_persons(
    index: ProjectIndex, boxes: Mapping[str, Sequence[Box]] | None, labels: LabelTable, wants_all: bool
) -> Iterator[Person]:
    """The records to be: of training groups all with `wants_all`, else the labelled ones; of test groups these."""
    columns = zip(
        index.ids, index.condition.tolist(), index.is_test.tolist(), index.width.tolist(), index.height.tolist(),
        strict=True,
    )  # fmt: skip
    for row, (image, condition, is_test, width, height) in enumerate(columns):
        state = labels.states.get(image, NEVER_ASKED)
        if condition != OK or state == STATES.index("missing"):
            continue
        labelled = {person.id: person for person in labels.persons.get(image, ())}
        if boxes is None:
            own: dict[str, Box | None] = {image: (0.0, 0.0, float(width), float(height))}
        else:
            own = {f"{image}#{number}": box for number, box in enumerate(boxes.get(image, ()), start=1)}
        # Persons that no box fits.
        for id_, person in labelled.items():
            own.setdefault(id_, person.box)
        for id_, box in own.items():
            label = labelled.get(id_)
            is_labelled = label is not None and bool(label.joints)
            if is_labelled or (wants_all and not is_test):
                yield Person(id_, row, box, label, state)


def _build_records(
    persons: Sequence[Person], index: ProjectIndex, skeleton: Skeleton, project: ProjectFile, notes: Sequence[str]
) -> Records[PoseLabels]:
    rows = np.array([person.row for person in persons], dtype=np.int64)
    places = {name: place for place, name in enumerate(skeleton.joints)}
    points = np.full((len(persons), len(places), 2), np.nan, dtype=np.float32)
    visible = np.zeros((len(persons), len(places)), dtype=np.uint8)
    boxes = np.full((len(persons), 4), np.nan, dtype=np.float32)
    for number, person in enumerate(persons):
        if person.box is not None:
            boxes[number] = person.box
        for name, (x, y, code) in (person.label.joints if person.label else {}).items():
            if code and name in places:
                points[number, places[name]] = (x, y)
                visible[number, places[name]] = code
    hulls = _widen_flat_boxes(compute_joint_boxes(points, visible), index, rows)
    boxes = np.where(np.isnan(boxes), hulls, boxes)
    is_test = index.is_test[rows]
    split = np.where(is_test, "test", "train")
    labels = PoseLabels(skeleton, points, visible)
    images = index.ids.take(rows)
    if project.grouping == "image":
        notes = [*notes, *suggest_groups(images, split)]
    return Records(
        ids=Ids(person.id for person in persons),
        images=images,
        split=split,
        boxes=boxes,
        box_source="image" if project.boxes == IMAGE else "annotation",
        may_start=~is_test & labels.is_labelled,
        labels=labels,
        group=index.group.take(rows),
        notes=tuple(notes),
    )


def _widen_flat_boxes(
    hulls: NDArray[np.float32], index: ProjectIndex, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Boxes (N, 4) without sides of no length, which could not be cropped: the whole image instead."""
    whole = np.zeros_like(hulls)
    whole[:, 2] = index.width[rows]
    whole[:, 3] = index.height[rows]
    is_flat = ~(hulls[:, 2:] > 0).all(axis=1, keepdims=True)
    return np.where(is_flat, whole, hulls)


def _list_paths(index: ProjectIndex, rows: NDArray[np.int64], root: Path, folder: LabellingFolder) -> Iterator[str]:
    for file, is_own in zip(index.files.take(rows), index.is_own[rows].tolist(), strict=True):
        yield str((folder.path if is_own else root) / file)


def _describe_left_out(
    index: ProjectIndex, boxes: Mapping[str, Sequence[Box]] | None, labels: LabelTable
) -> list[str]:
    """Note how many images are no records, or records without labels, and why."""
    notes = describe_conditions(index)
    counts = Counter(STATES[state] for state in labels.states.values())
    for state, words in (("skipped", "were skipped by people"), ("empty", "show nobody, as people say")):
        if counts[state]:
            notes.append(f"{counts[state]:,} images {words}")
    if boxes is not None:
        without = [image for image in index.ids if not boxes.get(image) and image not in labels.persons]
        if without:
            notes.append(f"{len(without):,} images have no box and are left out, {without[0]} among them")
    return notes


def _make_empty_error(folder: LabellingFolder, notes: Sequence[str]) -> DataError:
    reasons = f" ({'; '.join(notes)})" if notes else ""
    return DataError(
        f"the project of {folder.path} has no labelled image{reasons}; run `llpp label` on its folder, or set "
        "dataset.unlabelled=true to list the images"
    )
