"""MPII Human Pose (Andriluka et al., CVPR 2014) in any of the forms in which its annotations circulate."""

import hashlib
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
from llpp.errors import ConfigError, DataError, expect
from llpp.files import read_bytes
from llpp.ids import Ids

MAX_BYTES = 1 << 24  # of a list of names
STANDARD_VALIDATION_LIST = "newell_validation_images.txt"
BODY_HEIGHT = 200.0  # pixels of body height at scale 1
CENTRE_SHIFT = (
    15.0  # pixels at scale 1 from the annotated centre down to the crop's, so that feet stay inside (Newell 2016)
)
HEAD_SEGMENT_RATIO = (
    0.8  # head_top–upper_neck / head rectangle's diagonal, as published head points were made from rectangles
)


class MpiiHumanPose(PoseDataset):
    """Several persons per image, with body height and head size.

    The usual validation split, whose numbers papers report, is the test split here; `val` persons or a few more, by
    whole images, are taken out of the training images for validation.
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
        tested = _read_standard_split(persons, folder, validation_list)
        kept, left_out = _find_usable(persons, box)
        persons, tested = persons.keep_rows(kept), tested if tested is None else tested[kept]
        split = _assign_splits(persons.images, tested, val, train, split_seed)
        if tested is None:
            left_out.append(
                "no published split was found beside these annotations: validation and test images are drawn"
            )
        used = split != ""
        persons, split = persons.keep_rows(used), split[used]
        sizes = {"head": _compute_head_normaliser(persons)}
        joints = _move_head_tops(persons, head_slide).astype(np.float32)
        self.folder = folder / "images"
        self.records = Records(
            ids=Ids(f"mpii/{Path(i).stem}#{n}" for i, n in zip(persons.images, persons.numbers, strict=True)),
            images=Ids(persons.images),
            split=split,
            labels=PoseLabels(self.skeleton, joints, persons.visible, sizes),
            boxes=_build_boxes(persons, joints, box),
            box_source="annotation" if box == "scale" else box,
            may_start=split == "train",
            ground_truth_boxes=box != "image",
            notes=(*notes, *left_out),
        )
        self.paths = ImageFiles(self.folder, self.records.images)

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `PoseDataset.load`."""
        return read_image(self.paths[row])

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `PoseDataset.reduced`."""
        return read_reduced(self.paths[row], most)

    def check(self) -> None:
        """See `PoseDataset.check`."""
        if not any((self.folder / name).is_file() for name in set(self.records.images)):
            raise DataError(
                f"MPII has none of its images in {self.folder.absolute()}, only annotations beside it; unpack the "
                "published mpii_human_pose_v1.tar.gz there, or set dataset.root=…; see README, Datasets"
            )


def _read_standard_split(persons: Persons, folder: Path, named: str | None) -> NDArray[np.bool_] | None:
    """(N,) whether an image is of the usual validation split: by a list, else by the form's flag; None: unknown."""
    if named is None and persons.test is not None:
        train, test = ({i for i, t in zip(persons.images, persons.test, strict=True) if t == side} for side in (0, 1))
        if train & test:
            raise DataError(
                f"MPII's annotations put image {min(train & test)!r} into training and validation; expected one of "
                "them: take them from their source again, or name the test images by dataset.validation_list=…"
            )
        return persons.test
    path = folder / (named or STANDARD_VALIDATION_LIST)
    if named is None and not path.is_file():
        return None
    try:
        lines = [line.strip() for line in read_bytes(path, MAX_BYTES).decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a list of image names ({error}); set dataset.validation_list=…"
        ) from error
    names = {check_image_name(line, path.name) for line in lines if line}
    tested = np.array([image in names for image in persons.images])
    if not tested.any() or tested.all():
        raise DataError(
            f"{path} names {len(names)} images, {'all' if tested.any() else 'none'} of those annotated; expected the "
            "names of the validation images, one per line; set dataset.validation_list=…"
        )
    return tested


def _find_usable(persons: Persons, box: str) -> tuple[NDArray[np.bool_], list[str]]:
    """Persons that can be trained and measured on (N,), and how many are not."""
    labelled = (persons.visible > 0).any(axis=1)
    hulls = compute_joint_boxes(persons.joints.astype(np.float32), persons.visible)
    framed = {
        "scale": np.isfinite(persons.scale) & np.isfinite(persons.centre).all(axis=1),
        "joints": hulls[:, 2:].max(axis=1) > 0,
        "image": np.ones_like(labelled),
    }[box]
    reasons = (
        ("without joints", ~labelled),
        ("without centre and scale" if box == "scale" else "with a single joint", labelled & ~framed),
    )
    return labelled & framed, [
        f"{n:,} person{'s' * (n > 1)} {why} left out" for why, rows in reasons if (n := int(rows.sum()))
    ]


def _assign_splits(
    images: Sequence[str], tested: NDArray[np.bool_] | None, val: int, train: int | None, seed: int
) -> NDArray[np.str_]:
    """(N,) the split of each person, "" for those beyond `train`; an image's place depends on its name alone."""
    count = Counter(images)
    order = sorted(count, key=lambda name: hashlib.blake2b(f"{seed}/{name}".encode()).digest())
    if tested is None:
        test, order = _take_first(order, count, val)
    else:
        test = {image for image, flag in zip(images, tested.tolist(), strict=True) if flag}
        order = [image for image in order if image not in test]
    validation, order = _take_first(order, count, val)
    if not test or not order or sum(count[image] for image in validation) < val:
        raise ConfigError(
            f"dataset.val={val} does not split {len(images)} persons in {len(count)} images, {len(test)} of them for "
            "testing, into three parts; each needs at least one image"
        )
    place = {image: n for n, image in enumerate(order)}
    home = dict.fromkeys(test, "test") | dict.fromkeys(validation, "val") | dict.fromkeys(order, "train")
    split = np.array([home[image] for image in images])
    if train is not None:
        rows = sorted(np.flatnonzero(split == "train").tolist(), key=lambda row: place[images[row]])
        split[rows[train:]] = ""
    return split


def _take_first(order: list[str], count: Counter[str], least: int) -> tuple[set[str], list[str]]:
    """The first images, with at least `least` persons, and the rest."""
    reached = np.cumsum([count[image] for image in order])
    end = int(np.searchsorted(reached, least)) + 1
    return set(order[:end]), order[end:]


def _compute_head_normaliser(persons: Persons) -> Normaliser:
    """Diagonals of the head rectangles; where there is none, what the head's points tell of it.

    MPII's upper neck and head top lie 0.8 diagonals apart, about the rectangle's middle, wherever they have been
    made from it: that holds to the last digit for the 93 % of the published persons whose head points are no whole
    pixels. The others were set by hand; for them it is an estimate.
    """
    estimated = np.isnan(persons.head)
    values = np.where(estimated, measure_head_segments(persons.joints) / HEAD_SEGMENT_RATIO, persons.head)
    source = "the head rectangle's diagonal"
    if estimated.any():
        source += (
            f"{'' if estimated.all() else ' or, where missing,'} from head top to upper neck / {HEAD_SEGMENT_RATIO}"
        )
    return Normaliser(values.astype(np.float32), estimated & np.isfinite(values), source)


def _move_head_tops(persons: Persons, share: float) -> NDArray[np.float64]:
    """Joints (N, 16, 2) with the head top moved towards the upper neck; NaN if that is not labelled."""
    joints = persons.joints.copy()
    both = (persons.visible[:, [NECK, HEAD_TOP]] > 0).all(axis=1)
    joints[both, HEAD_TOP] += share * (joints[both, NECK] - joints[both, HEAD_TOP])
    return joints


def _build_boxes(persons: Persons, joints: NDArray[np.float32], box: str) -> NDArray[np.float32]:
    """(N, 4) x, y, width, height; with the crop's padding of 1.25, `scale` is the usual crop of 250 × scale."""
    if box == "image":
        return np.full((len(joints), 4), np.nan, dtype=np.float32)
    if box == "joints":
        hulls = compute_joint_boxes(joints, persons.visible)
        hulls[:, 2:] = hulls[:, 2:].clip(min=1)
        return hulls
    centre = persons.centre + np.stack([np.zeros_like(persons.scale), CENTRE_SHIFT * persons.scale], axis=1)
    side = (BODY_HEIGHT * persons.scale)[:, None]
    return np.concatenate([centre - side / 2, side, side], axis=1).astype(np.float32)
