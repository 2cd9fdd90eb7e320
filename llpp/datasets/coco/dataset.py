"""Images with COCO keypoints JSON, of any skeleton: COCO (Lin et al., ECCV 2014) or what a labelling tool wrote.

Coordinates are used as they are in the file: 0-based, with visibility 0, 1 or 2.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import SPLITS, Records
from llpp.datasets.coco.categories import Wanted
from llpp.datasets.coco.duplicates import count_near_repeats, merge_repeats
from llpp.datasets.coco.geometry import check_positions
from llpp.datasets.coco.keypoints_json import KeypointsFile, get_common_category, read_keypoints_file
from llpp.datasets.flip_pairs import AUTO, FlipPairs, resolve_flip_pairs
from llpp.datasets.groups import assign_groups, describe_groups, suggest_groups
from llpp.datasets.images import AS_STORED, ImageFiles, Orientation, Reading, is_file, read_image, read_reduced
from llpp.datasets.joint_names import find_torso_diagonals
from llpp.datasets.pixel_format import choose_pixel_format
from llpp.datasets.pose import PoseDataset, PoseLabels, Skeleton, compute_joint_boxes
from llpp.datasets.splits import draw_splits
from llpp.errors import ConfigError, DataError, expect
from llpp.ids import Ids

Files = str | Sequence[str]
CHOICES = {
    "box": ("annotation", "joints", "image"),
    "orientation": ("auto", "file", "upright"),
    "outside": ("drop", "keep"),
    "ids": ("file", "stem"),
    "repeats": ("merge", "keep"),
}
NO_SIZE = (0, 0)


@dataclass(frozen=True)
class Source:
    """One annotation file."""

    split: str
    path: Path
    folder: str  # of its images, below the root
    content: KeypointsFile


@dataclass(frozen=True)
class Row:
    """The values of one record."""

    id: str
    image: str
    split: str
    joints: Sequence[tuple[float, float, int]]
    box: Sequence[float] | None
    size: tuple[int, int] = NO_SIZE  # width and height of the image, if the annotations have them


class CocoKeypoints(PoseDataset):
    """Persons (or animals, or things) with at least one labelled joint, several to an image.

    Args:
        root: folder that the other paths are below.
        annotations: a file, a list of files, or either by split: {train: …, test: …}.
        images: the folder of the images, or one by split, as `annotations`.
        val: share (below 1) or number of the training images for validation, unless `annotations` has a val.
        test: the same for testing.
        train: largest number of the remaining images to use.
        split_seed: chooses the images of val and test, which do not depend on the order of the files.
        category: name or id; a list of them, whose joints are united by name; None: all that have keypoints, which
            must be the same ones.
        box: where to crop.
        unlabelled: list images without annotations too, as training records without a labelled joint.
        orientation: which way up images with an EXIF orientation are read, see `Reading`; None: auto.
        outside: what happens to labelled joints that are not in their image, or at exactly (0, 0); None: drop.
        strict: refuse what COCO's format does not have, even if it has one meaning.
        group: what must not stand in two splits: None (an image), folder, source, film or a regular expression; see
            `groups.assign_groups`.
        ids: name the image by its `file`, or by its `stem`, without the ending, as older runs do; None: file.
        repeats: annotations that are equal to another one are merged into it, or kept, as in older runs; None: merge.
        white: see `pixel_format.choose_pixel_format`.
        background: the same.
        flip_pairs: joints that change places in a mirrored image: auto (by their names), or all pairs of names.
    """

    name = "coco"
    has_chosen_pairs = True

    def __init__(
        self,
        root: str,
        annotations: Files | Mapping[str, Files] = "annotations.json",
        images: str | Mapping[str, str] = "images",
        val: float | None = 0.1,
        test: float | None = 0.2,
        train: int | None = None,
        split_seed: int = 0,
        category: Wanted = None,
        box: Literal["annotation", "joints", "image"] = "annotation",
        unlabelled: bool = False,
        orientation: Orientation | None = None,
        outside: Literal["drop", "keep"] | None = None,
        strict: bool = False,
        group: str | None = None,
        ids: Literal["file", "stem"] | None = None,
        repeats: Literal["merge", "keep"] | None = None,
        white: int | str | None = None,
        background: Sequence[int] | str | None = None,
        flip_pairs: FlipPairs = AUTO,
    ) -> None:
        orientation = orientation or "auto"
        outside = outside or "drop"
        ids = ids or "file"
        repeats = repeats or "merge"
        _check_choices(box=box, orientation=orientation, outside=outside, ids=ids, repeats=repeats)
        expect(isinstance(strict, bool), "dataset.strict", strict, "true or false")
        self.root = Path(root)
        self.orientation: Orientation = orientation
        # A run of a version that compared no sizes continues with the images that it has.
        self.compares_sizes = (orientation, outside) != ("file", "keep")
        sources = []
        for split, path in _list_annotation_files(self.root, annotations):
            folder = _get_image_folder(images, split)
            wants_boxes = box == "annotation"
            content = read_keypoints_file(path, category, wants_boxes, self.root / folder, strict)
            # Who has chosen an orientation may read images whose annotated width and height are exchanged.
            is_chosen = orientation != "auto"
            content = check_positions(path, content, wants_boxes, outside == "keep", may_be_exchanged=is_chosen)
            sources.append(Source(split, path, folder, content))
        common_category = get_common_category([(source.path, source.content) for source in sources])
        joints = common_category.joints
        pairs, unpaired = resolve_flip_pairs(flip_pairs, joints)
        self.skeleton = Skeleton(joints, pairs, common_category.edges, find_torso_diagonals(joints), unpaired)

        persons_by_file = []
        for source in sources:
            persons = _build_rows(source, unlabelled, folder_in_id=isinstance(images, Mapping), ids=ids)
            persons_by_file.append((source.path, persons))
        rows = [row for _, persons in persons_by_file for row in persons]
        repeat_count = 0
        if repeats == "merge":
            rows, repeat_count = merge_repeats(persons_by_file)
        groups = _map_groups(rows, group)
        # Splits without an annotation file are drawn from the training images.
        wanted = {"val": val, "test": test}
        for source in sources:
            wanted.pop(source.split, None)
        rows = _assign_splits(rows, wanted, train, split_seed, groups)
        rows, relative_count = _drop_relatives(rows, groups)
        flat_count = 0
        if box == "joints":
            rows, flat_count = _drop_flat_rows(rows)
        left_out = _describe_left_out(sources, flat_count, unlabelled)
        if not rows:
            raise _make_empty_error(sources, left_out)
        notes = [*left_out, *_collect_remarks(sources), *_describe_skeleton(sources)]
        notes += _describe_repeats(repeat_count, relative_count)
        records = _build_records(rows, self.skeleton, box, notes)
        self.paths = ImageFiles(self.root, records.images)
        self.sizes = np.array([row.size for row in rows], dtype=np.int32)  # (N, 2), 0 where it is not known
        if orientation == "upright" or (orientation == "auto" and self.sizes.any()):
            # Labelling tools show new images upright, as those whose annotations have a size.
            self.new_reading = Reading("upright")
        self.pixels, pixel_notes = choose_pixel_format(white, background, self.root, records.images)
        self.decided = {
            "orientation": orientation,
            "outside": outside,
            "ids": ids,
            "repeats": repeats,
            **self.pixels.as_settings(),
        }
        self.records = _add_groups(records, group, groups, [*_describe_near_repeats(records), *pixel_notes])

    def get_reading(self, row: int) -> Reading:
        """See `ImageDataset.get_reading`."""
        width, height = self.sizes[row].tolist()
        if not self.compares_sizes:
            return AS_STORED
        if width:
            return Reading(self.orientation, (width, height))
        # Without a size, nothing speaks for turning an image.
        return Reading("file" if self.orientation == "auto" else self.orientation)

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return read_image(self.paths[row], self.get_reading(row), pixels=self.pixels)

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `ImageDataset.load_reduced`."""
        return read_reduced(self.paths[row], most, self.get_reading(row), pixels=self.pixels)

    def check(self) -> None:
        """See `ImageDataset.check`; every split that has records must have at least one image file."""
        for split in SPLITS:
            paths = [self.paths[row] for row in self.records.select_rows(split)]
            if paths and not any(map(is_file, paths)):
                raise DataError(
                    f"none of the {split} images is there, for example {paths[0]}; put them there or set "
                    "dataset.root=… or dataset.images=…; see docs/datasets.md"
                )


def _check_choices(**chosen: object) -> None:
    """Raise ConfigError unless every setting has one of its values."""
    for name, value in chosen.items():
        known = CHOICES[name]
        if value not in known:
            raise ConfigError(f"dataset.{name}={value!r} is not known; use {', '.join(known)}")


def _list_annotation_files(root: Path, annotations: Files | Mapping[str, Files]) -> list[tuple[str, Path]]:
    """Return (split, path) of every annotation file."""
    by_split = annotations if isinstance(annotations, Mapping) else {"train": annotations}
    if "train" not in by_split or not set(by_split) <= set(SPLITS):
        splits = ", ".join(map(str, by_split)) or "no split"
        raise ConfigError(
            f"dataset.annotations has files for {splits}; expected train, and val or test if these have files of "
            "their own"
        )
    result = []
    for split, files in by_split.items():
        names = _list_names(files)
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"dataset.annotations: {split} is {files!r}; expected a file or a list of files")
        for name in names:
            result.append((split, root / name))
    return result


def _list_names(files: Files) -> list[str]:
    """Return the names in a setting that may be one name or a list; nothing if it is neither."""
    if isinstance(files, str):
        return [files]
    if isinstance(files, Sequence):
        return list(files)
    return []


def _get_image_folder(images: str | Mapping[str, str], split: str) -> str:
    folder = images.get(split) if isinstance(images, Mapping) else images
    if not isinstance(folder, str):
        raise ConfigError(f"dataset.images names no folder for {split}; expected one, or one for each split")
    return folder


def _build_rows(source: Source, unlabelled: bool, folder_in_id: bool, ids: str) -> list[Row]:
    """Return the persons of a file, then, with `unlabelled`, the training images without annotations.

    Each split may have its own 0001.jpg: `folder_in_id` keeps their ids apart. One split may have a 1.jpg and a
    1.png: `ids` in the form `file` keep those apart.
    """
    content = source.content
    paths = {}
    image_ids = {}
    for number, name in content.images.items():
        paths[number] = str(PurePosixPath(source.folder, name))
        path_in_id = PurePosixPath(paths[number] if folder_in_id else name)
        if ids == "stem":
            path_in_id = path_in_id.with_suffix("")
        image_ids[number] = f"coco/{path_in_id}"

    rows = []
    for person in content.instances:
        person_id = f"{image_ids[person.image]}#{person.id}"
        size = content.sizes.get(person.image, NO_SIZE)
        rows.append(Row(person_id, paths[person.image], source.split, person.joints, person.box, size))
    if unlabelled and source.split == "train":
        for number in content.images:
            if number not in content.annotated:
                size = content.sizes.get(number, NO_SIZE)
                rows.append(Row(image_ids[number], paths[number], "train", (), None, size))
    return rows


def _map_groups(rows: Sequence[Row], group: str | None) -> dict[str, str] | None:
    """Return the group of each image by its path; None where each is on its own."""
    images = [row.image for row in rows]
    groups = assign_groups(images, group)
    return None if groups is None else dict(zip(images, groups, strict=True))


def _assign_splits(
    rows: list[Row],
    wanted: Mapping[str, float | None],
    train: int | None,
    seed: int,
    groups: Mapping[str, str] | None,
) -> list[Row]:
    """Draw the `wanted` splits from the training images that have labelled joints; append the unlabelled images."""
    persons = []
    annotated = set()
    training_images = []
    for row in rows:
        if row.joints:
            persons.append(row)
            annotated.add(row.image)
            if row.split == "train":
                training_images.append(row.image)

    split_by_image = draw_splits(training_images, wanted, train, seed, groups)
    result = []
    for row in persons:
        if row.split == "train":
            split = split_by_image.get(row.image)
            # An image without a split is beyond `train`.
            if split is not None:
                result.append(replace(row, split=split))
        else:
            result.append(row)

    # Several files may list an image; it is unlabelled only if none of them annotates it.
    unlabelled = {row.image: row for row in rows if row.image not in annotated}
    return [*result, *unlabelled.values()]


def _drop_relatives(rows: list[Row], groups: Mapping[str, str] | None) -> tuple[list[Row], int]:
    """Drop the unlabelled images of the groups that are validated or tested with, and count them."""
    if groups is None:
        return rows, 0
    held_out = {groups[row.image] for row in rows if row.split != "train"}
    result = [row for row in rows if row.joints or groups[row.image] not in held_out]
    return result, len(rows) - len(result)


def _drop_flat_rows(rows: list[Row]) -> tuple[list[Row], int]:
    """Drop the rows whose labelled joints span no box, and count them; rows without any joint stay."""
    result = [row for row in rows if not _is_flat(row)]
    return result, len(rows) - len(result)


def _is_flat(row: Row) -> bool:
    # In single precision, as in the records: a box that vanishes there cannot be cropped.
    labelled = np.array([(x, y) for x, y, visible in row.joints if visible], dtype=np.float32)
    return len(labelled) > 0 and bool(np.ptp(labelled, axis=0).min() <= 0)


def _build_records(rows: list[Row], skeleton: Skeleton, box: str, notes: Sequence[str]) -> Records[PoseLabels]:
    joint_count = len(skeleton.joints)
    joints = np.full((len(rows), joint_count, 2), np.nan, dtype=np.float32)
    visible = np.zeros((len(rows), joint_count), dtype=np.uint8)
    boxes = np.full((len(rows), 4), np.nan, dtype=np.float32)
    ids = []
    images = []
    splits = []
    for n, row in enumerate(rows):
        ids.append(row.id)
        images.append(row.image)
        splits.append(row.split)
        for j, (x, y, code) in enumerate(row.joints):
            if code:
                joints[n, j] = (x, y)
                visible[n, j] = code
        if row.box is not None:
            boxes[n] = row.box
    if box == "joints":
        boxes = compute_joint_boxes(joints, visible)
    split = np.array(splits, dtype=np.str_)
    if box == "image":
        notes = [*notes, *_describe_shared_images(images)]
    return Records(
        ids=Ids(ids),
        images=Ids(images),
        split=split,
        labels=PoseLabels(skeleton, joints, visible),
        boxes=boxes,
        box_source=box,
        may_start=(split == "train") & (visible > 0).any(axis=1),
        ground_truth_boxes=box != "image",
        notes=tuple(notes),
    )


def _add_groups(
    records: Records[PoseLabels], group: str | None, groups: Mapping[str, str] | None, notes: Sequence[str]
) -> Records[PoseLabels]:
    """Return the records with their groups, some notes, and those about groups."""
    if group is None or groups is None:
        suggestions = suggest_groups(records.images, records.split)
        return replace(records, notes=(*records.notes, *notes, *suggestions))
    found = Ids(groups[image] for image in records.images)
    described = describe_groups(group, found, records.images, records.split)
    return replace(records, group=found, notes=(*records.notes, *notes, *described))


def _describe_shared_images(images: Sequence[str]) -> list[str]:
    """Note how many of the persons' images occur more than once: with box=image their crops are the same."""
    count = sum(persons > 1 for persons in Counter(images).values())
    if count == 0:
        return []
    return [f"{count} images show several persons, whom box=image does not distinguish"]


def _describe_left_out(sources: Sequence[Source], flat_count: int, unlabelled: bool) -> list[str]:
    """Note how many annotations and images are left out, and why."""
    reasons: Counter[str] = Counter()
    # By folder and file: several files may list an image, or one file twice, and annotate it once.
    listed: set[tuple[str, str]] = set()
    annotated: set[tuple[str, str]] = set()
    otherwise_annotated: set[tuple[str, str]] = set()
    for source in sources:
        content = source.content
        reasons.update(content.left_out)
        annotated.update((source.folder, content.images[image]) for image in content.annotated)
        # With `unlabelled`, the training images without annotations are records.
        if not (unlabelled and source.split == "train"):
            listed.update((source.folder, name) for name in content.images.values())
            otherwise_annotated.update(
                (source.folder, content.images[image]) for image in content.otherwise_annotated
            )
    other_count = len(otherwise_annotated - annotated)
    image_count = len(listed - annotated - otherwise_annotated)
    if flat_count:
        reasons["whose labelled joints span no box (box=joints)"] = flat_count
    notes = []
    for reason, count in sorted(reasons.items()):
        notes.append(f"{count} annotations {reason} are left out")
    if image_count:
        notes.append(f"{image_count} images without annotations are left out")
    if other_count:
        notes.append(f"{other_count} images with annotations of other categories only are left out")
    return notes


def _collect_remarks(sources: Sequence[Source]) -> list[str]:
    """Return what was found in the files, with their names if there are several."""
    remarks = []
    for source in sources:
        prefix = f"{source.path.name}: " if len(sources) > 1 else ""
        remarks += [prefix + remark for remark in source.content.remarks]
    return remarks


def _make_empty_error(sources: Sequence[Source], left_out: Sequence[str]) -> DataError:
    """Say why there is no record at all."""
    source = sources[0]
    what = f"{source.path} has no {source.content.category.name} with a labelled joint"
    if not source.content.annotation_count:
        return DataError(
            f"{what}: it has no annotations at all, for {len(source.content.images)} images; export it again with "
            "annotations (CVAT exports only joints of a label of the type skeleton), or set dataset.unlabelled=true "
            "to list the images"
        )
    reasons = [*left_out, *_collect_remarks(sources)]
    return DataError(f"{what}: {'; '.join(reasons)}; correct the file, or choose another one")


def _describe_repeats(repeat_count: int, relative_count: int) -> list[str]:
    """Note annotations that were merged, and unlabelled images that were left out for their group."""
    notes = []
    if repeat_count:
        notes.append(f"{repeat_count:,} annotations repeat another one exactly and are merged")
    if relative_count:
        notes.append(f"{relative_count:,} unlabelled images are left out: others of their groups are in val or test")
    return notes


def _describe_near_repeats(records: Records[PoseLabels]) -> list[str]:
    """Note persons who may be annotated twice, with other joints or another box; both stay."""
    count = count_near_repeats(records.images, records.boxes, records.labels.joints)
    if count == 0:
        return []
    return [
        f"{count:,} pairs of annotations in one image have nearly the same box or exactly the same joints; both of "
        "each are used"
    ]


def _describe_skeleton(sources: Sequence[Source]) -> list[str]:
    """Note skeleton edges that are left out."""
    dropped = sources[0].content.category.dropped
    if not dropped:
        return []
    return [f"{dropped} skeleton edges between joints that do not exist are left out"]
