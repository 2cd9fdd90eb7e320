"""Images with COCO keypoints JSON, of any skeleton: COCO (Lin et al., ECCV 2014) or what a labelling tool wrote.

Coordinates are taken as they are: 0-based, visibility 0, 1 or 2.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llpp.datasets import joint_names
from llpp.datasets.base import SPLITS, Records
from llpp.datasets.coco.keypoints_json import KeypointsFile, get_common_category, read_keypoints_file
from llpp.datasets.images import ImageFiles, is_file, read_image, read_reduced
from llpp.datasets.pose import PoseDataset, PoseLabels, Skeleton, compute_joint_boxes
from llpp.datasets.splits import draw_splits
from llpp.errors import ConfigError, DataError
from llpp.ids import Ids

Files = str | Sequence[str]
BOXES = ("annotation", "joints", "image")


@dataclass(frozen=True)
class Source:
    """One annotation file."""

    split: str
    path: Path
    folder: str  # of its images, below the root
    content: KeypointsFile


@dataclass(frozen=True)
class Row:
    """One record to be."""

    id: str
    image: str
    split: str
    joints: Sequence[tuple[float, float, int]]
    box: Sequence[float] | None


class CocoKeypoints(PoseDataset):
    """Persons (or animals, or things) with at least one labelled joint, several to an image.

    Args:
        root: folder that the other paths are below.
        annotations: a file, a list of files, or either by split: {train: …, test: …}.
        images: the folder of the images, or one by split, as `annotations`.
        val: share (below 1) or number of the training images for validation, unless `annotations` has a val.
        test: the same for testing.
        train: use at most so many images of those that are left.
        split_seed: chooses the images of val and test. The order of the files changes none of them.
        category: name or id; None: the only one that has keypoints.
        box: where to crop.
        unlabelled: list images without annotations too, as training records without a labelled joint.
    """

    name = "coco"

    def __init__(
        self,
        root: str,
        annotations: Files | Mapping[str, Files] = "annotations.json",
        images: str | Mapping[str, str] = "images",
        val: float | None = 0.1,
        test: float | None = 0.2,
        train: int | None = None,
        split_seed: int = 0,
        category: str | int | None = None,
        box: Literal["annotation", "joints", "image"] = "annotation",
        unlabelled: bool = False,
    ) -> None:
        if box not in BOXES:
            raise ConfigError(f"dataset.box={box!r} is not known; use {', '.join(BOXES)}")
        self.root = Path(root)
        sources = [
            Source(
                split,
                path,
                _get_image_folder(images, split),
                read_keypoints_file(path, category, boxes=box == "annotation"),
            )
            for split, path in _list_annotation_files(self.root, annotations)
        ]
        kind = get_common_category([(source.path, source.content) for source in sources])
        joints = kind.joints
        self.skeleton = Skeleton(
            joints, joint_names.find_flip_pairs(joints), kind.edges, joint_names.find_torso_diagonals(joints)
        )
        rows = [row for source in sources for row in _build_rows(source, unlabelled, isinstance(images, Mapping))]
        given = {source.split for source in sources}
        wanted = {split: share for split, share in {"val": val, "test": test}.items() if split not in given}
        rows = _assign_splits(rows, wanted, train, split_seed)
        rows, flat = _drop_flat_rows(rows) if box == "joints" else (rows, 0)
        if not rows:
            raise DataError(f"{sources[0].path} has no {kind.name} with a labelled joint; choose another file")
        self.records = _build_records(
            rows, self.skeleton, box, (*_describe_left_out(sources, flat, unlabelled), *_describe_skeleton(sources))
        )
        self.paths = ImageFiles(self.root, self.records.images)

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `PoseDataset.load`."""
        return read_image(self.paths[row])

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `PoseDataset.reduced`."""
        return read_reduced(self.paths[row], most)

    def check(self) -> None:
        """See `PoseDataset.check`; each folder of images has to hold one at least."""
        for split in SPLITS:
            own = [self.paths[row] for row in self.records.select_rows(split)]
            if own and not any(map(is_file, own)):
                raise DataError(
                    f"none of the {split} images is there, {own[0]} for one; put them there or set dataset.root=… "
                    "or dataset.images=…; see README, Datasets"
                )


def _list_annotation_files(root: Path, annotations: Files | Mapping[str, Files]) -> list[tuple[str, Path]]:
    """(split, path) of every annotation file."""
    by_split = annotations if isinstance(annotations, Mapping) else {"train": annotations}
    if "train" not in by_split or not set(by_split) <= set(SPLITS):
        raise ConfigError(
            f"dataset.annotations has files for {', '.join(map(str, by_split)) or 'no split'}; expected train, and "
            "val or test if these have files of their own"
        )
    found = []
    for split, files in by_split.items():
        listed = [files] if isinstance(files, str) else list(files if isinstance(files, Sequence) else ())
        if not listed or not all(isinstance(file, str) for file in listed):
            raise ConfigError(f"dataset.annotations: {split} is {files!r}; expected a file or a list of files")
        found += [(split, root / file) for file in listed]
    return found


def _get_image_folder(images: str | Mapping[str, str], split: str) -> str:
    folder = images.get(split) if isinstance(images, Mapping) else images
    if not isinstance(folder, str):
        raise ConfigError(f"dataset.images names no folder for {split}; expected one, or one for each split")
    return folder


def _build_rows(source: Source, unlabelled: bool, folders: bool) -> list[Row]:
    """The persons of a file, then its images without annotations; ids name the folder if there are several."""
    content, rows = source.content, []
    paths = {number: str(PurePosixPath(source.folder, name)) for number, name in content.images.items()}
    named = paths if folders else content.images  # each split may have its own 0001.jpg
    ids = {number: f"coco/{PurePosixPath(name).with_suffix('')}" for number, name in named.items()}
    for person in content.instances:
        name, image = f"{ids[person.image]}#{person.id}", paths[person.image]
        rows.append(Row(name, image, source.split, person.joints, person.box))
    if unlabelled and source.split == "train":
        bare = [number for number in content.images if number not in content.annotated]
        rows += [Row(ids[number], paths[number], "train", (), None) for number in bare]
    return rows


def _assign_splits(rows: list[Row], wanted: Mapping[str, float | None], train: int | None, seed: int) -> list[Row]:
    """Draw the `wanted` splits from the images of the training files that have labelled joints."""
    known = {row.image for row in rows if row.joints}
    bare = {row.image: row for row in rows if row.image not in known}  # in none of several files annotated
    home = draw_splits((row.image for row in rows if row.split == "train" and row.joints), wanted, train, seed)
    drawn = [
        replace(row, split=home.get(row.image, "")) if row.split == "train" else row for row in rows if row.joints
    ]
    return [*(row for row in drawn if row.split), *bare.values()]


def _drop_flat_rows(rows: list[Row]) -> tuple[list[Row], int]:
    """Rows whose labelled joints span a box, and how many do not; those without any joint stay."""

    def is_flat(row: Row) -> bool:
        known = np.array([(x, y) for x, y, visible in row.joints if visible], dtype=np.float32)
        return len(known) > 0 and bool(np.ptp(known, axis=0).min() <= 0)

    kept = [row for row in rows if not is_flat(row)]
    return kept, len(rows) - len(kept)


def _build_records(rows: list[Row], skeleton: Skeleton, box: str, notes: tuple[str, ...]) -> Records[PoseLabels]:
    count = len(skeleton.joints)
    joints = np.full((len(rows), count, 2), np.nan, dtype=np.float32)
    visible = np.zeros((len(rows), count), dtype=np.uint8)
    boxes = np.full((len(rows), 4), np.nan, dtype=np.float32)
    for n, row in enumerate(rows):
        for j, (x, y, seen) in enumerate(row.joints):
            if seen:
                joints[n, j], visible[n, j] = (x, y), seen
        if row.box is not None:
            boxes[n] = row.box
    split = np.array([row.split for row in rows], dtype=np.str_)
    crowded = sum(number > 1 for number in Counter(row.image for row in rows).values())
    if box == "image" and crowded:
        notes = (*notes, f"{crowded} images show several persons, whom box=image does not tell apart")
    return Records(
        ids=Ids(row.id for row in rows),
        images=Ids(row.image for row in rows),
        split=split,
        labels=PoseLabels(skeleton, joints, visible),
        boxes=compute_joint_boxes(joints, visible) if box == "joints" else boxes,
        box_source=box,
        may_start=(split == "train") & (visible > 0).any(axis=1),
        ground_truth_boxes=box != "image",
        notes=notes,
    )


def _describe_left_out(sources: Sequence[Source], flat: int, unlabelled: bool) -> list[str]:
    """What was left out."""
    reasons: Counter[str] = Counter()
    for source in sources:
        reasons.update(source.content.left_out)
    if flat:
        reasons["whose labelled joints span no box (box=joints)"] = flat
    notes = [f"{number} annotations {reason} are left out" for reason, number in sorted(reasons.items())]
    files = [source.content for source in sources if not (unlabelled and source.split == "train")]
    bare = sum(len(file.images) - len(file.annotated) for file in files)
    return [*notes, f"{bare} images without annotations are left out"] if bare else notes


def _describe_skeleton(sources: Sequence[Source]) -> list[str]:
    kind, notes = sources[0].content.category, []
    if kind.dropped:
        notes.append(f"{kind.dropped} skeleton edges between joints that do not exist are left out")
    if lone := joint_names.find_unpaired(kind.joints):
        notes.append(f"no partner for {', '.join(lone)}: mirrored images misname them (see augmentation.flip)")
    return notes
