"""MPII Human Pose (Andriluka et al., CVPR 2014) in any of the forms in which its annotations circulate."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Records
from llpp.datasets.images import ImageFiles, read_image, read_reduced
from llpp.datasets.mpii import formats
from llpp.datasets.mpii.persons import HEAD_TOP, JOINTS, NECK, Persons, check_image_name, measure_head_segments
from llpp.datasets.pose import Normaliser, PoseDataset, PoseLabels, Skeleton, compute_joint_boxes
from llpp.datasets.splits import order_by_hash
from llpp.errors import ConfigError, DataError, expect
from llpp.files import read_bytes
from llpp.ids import Ids

MAX_BYTES = 1 << 24  # of a list of names
STANDARD_VALIDATION_LIST = "newell_validation_images.txt"
BODY_HEIGHT = 200.0  # pixels of body height at scale 1
# Pixels at scale 1 from the annotated centre down to the crop's, so that feet stay inside (Newell 2016).
CENTRE_SHIFT = 15.0
# head_top–upper_neck / head rectangle's diagonal, as published head points were made from rectangles.
HEAD_SEGMENT_RATIO = 0.8


class MpiiHumanPose(PoseDataset):
    """Several persons per image, with body height and head size.

    The usual validation split, whose numbers papers report, is the test split here. For validation, whole images
    with at least `val` persons together are taken out of the training images.
    """

    name = "mpii"
    skeleton = Skeleton(
        joints=JOINTS,
        flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
        edges=(
            (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
            (10, 11), (11, 12), (12, 7), (7, 13), (13, 14), (14, 15),
        ),
        torso=((13, 2), (12, 3)),
    )  # fmt: skip

    def __init__(
        self,
        root: str,
        annotations: str | Sequence[str] | None = None,
        validation_list: str | None = None,
        val: int = 500,
        train: int | None = None,
        split_seed: int = 0,
        box: Literal["scale", "joints", "image"] = "scale",
        head_slide: float = 0.0,
    ) -> None:
        if box not in ("scale", "joints", "image"):
            raise ConfigError(f"dataset.box={box!r} is not known; use scale, joints or image")
        expect(0 <= head_slide < 1, "dataset.head_slide", head_slide, "a share, 0 up to but not 1")
        expect(val >= 1, "dataset.val", val, "1 or more persons")
        expect(train is None or train >= 1, "dataset.train", train, "null, or 1 or more persons")
        folder = Path(root)
        persons, notes = formats.read_annotations(formats.find_annotations(folder, annotations))
        is_test = _read_standard_split(persons, folder, validation_list)
        usable, left_out = _find_usable(persons, box)
        persons = persons.keep_rows(usable)
        notes = [*notes, *left_out]
        if is_test is None:
            notes.append(
                "no published split was found next to these annotations: validation and test images are drawn"
            )
        else:
            is_test = is_test[usable]
        split = _assign_splits(persons.images, is_test, val, train, split_seed)
        used = split != ""
        persons = persons.keep_rows(used)
        split = split[used]
        # Heads are measured before their tops are moved.
        head_normaliser = _compute_head_normaliser(persons)
        joints = _move_head_tops(persons, head_slide).astype(np.float32)
        self.folder = folder / "images"
        self.records = Records(
            ids=Ids(_list_ids(persons)),
            images=Ids(persons.images),
            split=split,
            labels=PoseLabels(self.skeleton, joints, persons.visible, {"head": head_normaliser}),
            boxes=_build_boxes(persons, joints, box),
            box_source="annotation" if box == "scale" else box,
            may_start=split == "train",
            ground_truth_boxes=box != "image",
            notes=tuple(notes),
        )
        self.paths = ImageFiles(folder, (f"images/{name}" for name in self.records.images))

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return read_image(self.paths[row])

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `ImageDataset.load_reduced`."""
        return read_reduced(self.paths[row], most)

    def check(self) -> None:
        """See `ImageDataset.check`."""
        if not any((self.folder / name).is_file() for name in set(self.records.images)):
            raise DataError(
                f"no MPII images in {self.folder.absolute()}, only annotations next to it; unpack the published "
                "mpii_human_pose_v1.tar.gz there, or set dataset.root=…; see docs/datasets.md"
            )


def _list_ids(persons: Persons) -> list[str]:
    """Return the id of each person: its image's name without the ending, and its number in the image."""
    ids = []
    for image, number in zip(persons.images, persons.numbers, strict=True):
        ids.append(f"mpii/{Path(image).stem}#{number}")
    return ids


def _read_standard_split(persons: Persons, folder: Path, validation_list: str | None) -> NDArray[np.bool_] | None:
    """Return (N,) whether a person's image is in the usual validation split; None if nothing says so.

    A list named in the settings comes first, then the annotations' own flag, then the standard list in `folder`.
    """
    if validation_list is None and persons.test is not None:
        _check_flag_per_image(persons.images, persons.test)
        return persons.test
    path = folder / (validation_list or STANDARD_VALIDATION_LIST)
    if validation_list is None and not path.is_file():
        return None
    names = _read_validation_list(path)
    is_test = np.array([image in names for image in persons.images])
    if not is_test.any() or is_test.all():
        amount = "all" if is_test.any() else "none"
        raise DataError(
            f"{path} names {len(names)} images, {amount} of those annotated; expected the names of the validation "
            "images, one per line; set dataset.validation_list=…"
        )
    return is_test


def _check_flag_per_image(images: Sequence[str], is_test: NDArray[np.bool_]) -> None:
    """Raise DataError if the persons of one image have different flags (N,)."""
    in_both = _select_images(images, is_test) & _select_images(images, ~is_test)
    if in_both:
        raise DataError(
            f"MPII's annotations put image {min(in_both)!r} into training and validation; expected one of "
            "them: take them from their source again, or name the test images by dataset.validation_list=…"
        )


def _select_images(images: Sequence[str], mask: NDArray[np.bool_]) -> set[str]:
    """Return the different images of the persons marked in `mask` (N,)."""
    return {images[row] for row in np.flatnonzero(mask).tolist()}


def _read_validation_list(path: Path) -> set[str]:
    """Read image names, one per line."""
    try:
        # utf-8-sig: some editors start a file with a byte-order mark.
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a list of image names ({error}); set dataset.validation_list=…"
        ) from error
    names = set()
    for line in text.splitlines():
        name = line.strip()
        if name:
            names.add(check_image_name(name, path.name))
    return names


def _find_usable(persons: Persons, box: str) -> tuple[NDArray[np.bool_], list[str]]:
    """Return (N,) who has a labelled joint and can be cropped, and notes that count the others."""
    labelled: NDArray[np.bool_] = np.asarray((persons.visible > 0).any(axis=1))
    notes = _describe_left_out("without joints", ~labelled)
    if box == "image":
        return labelled, notes
    if box == "scale":
        has_box = np.isfinite(persons.scale) & np.isfinite(persons.centre).all(axis=1)
        notes += _describe_left_out("without centre and scale", labelled & ~has_box)
    else:
        hulls = compute_joint_boxes(persons.joints.astype(np.float32), persons.visible)
        has_box = hulls[:, 2:].max(axis=1) > 0
        notes += _describe_left_out("with a single joint", labelled & ~has_box)
    return labelled & has_box, notes


def _describe_left_out(reason: str, rows: NDArray[np.bool_]) -> list[str]:
    """Note how many persons (N,) are left out for a reason, if any."""
    count = int(rows.sum())
    if count == 0:
        return []
    noun = "person" if count == 1 else "persons"
    return [f"{count:,} {noun} {reason} left out"]


def _assign_splits(
    images: Sequence[str], is_test: NDArray[np.bool_] | None, val: int, train: int | None, seed: int
) -> NDArray[np.str_]:
    """Return the split of each person (N,); "" for those beyond `train`.

    Images are ordered by a hash of their name, so an image's place does not depend on the others. Without a published
    test split, as many persons as for validation are drawn for testing.
    """
    count_by_image = Counter(images)
    order = order_by_hash(count_by_image, seed)
    if is_test is None:
        test, order = _take_images(order, count_by_image, val)
    else:
        test = _select_images(images, is_test)
        order = [image for image in order if image not in test]
    validation, order = _take_images(order, count_by_image, val)
    validation_count = sum(count_by_image[image] for image in validation)
    if not test or not order or validation_count < val:
        raise ConfigError(
            f"dataset.val={val} does not split {len(images)} persons in {len(count_by_image)} images, {len(test)} of "
            "them for testing, into three parts; each needs at least one image"
        )
    split_by_image = dict.fromkeys(order, "train")
    split_by_image.update(dict.fromkeys(validation, "val"))
    split_by_image.update(dict.fromkeys(test, "test"))
    split = np.array([split_by_image[image] for image in images])
    if train is not None:
        position = {image: n for n, image in enumerate(order)}
        rows = np.flatnonzero(split == "train").tolist()
        rows.sort(key=lambda row: position[images[row]])
        split[rows[train:]] = ""
    return split


def _take_images(order: list[str], count_by_image: Counter[str], least: int) -> tuple[set[str], list[str]]:
    """Return the first images, which together have at least `least` persons, and the others."""
    reached = np.cumsum([count_by_image[image] for image in order])
    end = int(np.searchsorted(reached, least)) + 1
    return set(order[:end]), order[end:]


def _compute_head_normaliser(persons: Persons) -> Normaliser:
    """Return the diagonals of the head rectangles, estimated from the head's points where there is no rectangle.

    MPII's upper neck and head top are 0.8 diagonals apart, around the rectangle's middle, wherever they were made
    from it: that holds to the last digit for the 93 % of the published persons whose head points are no whole
    pixels. The others were set by hand; for them it is an estimate.
    """
    missing = np.isnan(persons.head)
    from_points = measure_head_segments(persons.joints) / HEAD_SEGMENT_RATIO
    values = np.where(missing, from_points, persons.head)
    rectangle = "the head rectangle's diagonal"
    points = f"from head top to upper neck / {HEAD_SEGMENT_RATIO}"
    if missing.all():
        source = f"{rectangle} {points}"
    elif missing.any():
        source = f"{rectangle} or, where missing, {points}"
    else:
        source = rectangle
    return Normaliser(values.astype(np.float32), missing & np.isfinite(values), source)


def _move_head_tops(persons: Persons, share: float) -> NDArray[np.float64]:
    """Return the joints (N, 16, 2) with the head top moved towards the upper neck, where both are labelled."""
    joints = persons.joints.copy()
    rows = (persons.visible[:, [NECK, HEAD_TOP]] > 0).all(axis=1)
    joints[rows, HEAD_TOP] += share * (joints[rows, NECK] - joints[rows, HEAD_TOP])
    return joints


def _build_boxes(persons: Persons, joints: NDArray[np.float32], box: str) -> NDArray[np.float32]:
    """Return (N, 4) x, y, width, height.

    With the crop's padding of 1.25, `scale` gives the usual crop of 250 × scale pixels.
    """
    if box == "image":
        return np.full((len(joints), 4), np.nan, dtype=np.float32)
    if box == "joints":
        hulls = compute_joint_boxes(joints, persons.visible)
        # Two joints on a vertical or horizontal line span a box without area.
        hulls[:, 2:] = hulls[:, 2:].clip(min=1)
        return hulls
    shift = np.stack([np.zeros_like(persons.scale), CENTRE_SHIFT * persons.scale], axis=1)
    centre = persons.centre + shift
    side = (BODY_HEIGHT * persons.scale)[:, None]
    return np.concatenate([centre - side / 2, side, side], axis=1).astype(np.float32)
