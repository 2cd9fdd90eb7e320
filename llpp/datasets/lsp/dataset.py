"""Leeds Sports Pose (Johnson & Everingham, BMVC 2010) and its extended set (CVPR 2011), as published.

`joints.mat` of LSP is (3, 14, N) with flag 1 = occluded; that of LSPET is (14, 3, N) with flag 1 = labelled, and
where the flag is 0 the coordinates mean nothing. The shape shows which of the two a file is.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Records
from llpp.datasets.images import ImageFiles, read_image, read_reduced
from llpp.datasets.isolated_reader import read_in_subprocess
from llpp.datasets.lsp.joints_mat import REMEDY, read_joints
from llpp.datasets.pose import LSP_SKELETON, PoseDataset, PoseLabels, compute_joint_boxes
from llpp.errors import ConfigError, DataError
from llpp.ids import Ids


class LeedsSportsPose(PoseDataset):
    """One person per image, without boxes.

    The last `test` images are the test split and the `val` images before them the validation split, in the file's
    order or, with `split_seed`, in a random one. `train` limits the number of the remaining images. With `start`
    upright, only upright people (see `is_upright`) are validation images and may be labelled before round 0, while
    pool and test stay mixed: the first model meets poses that it was not trained on.
    """

    skeleton = LSP_SKELETON

    def __init__(
        self,
        root: str,
        val: int,
        test: int,
        train: int | None = None,
        split_seed: int | None = None,
        box: Literal["joints", "image"] = "joints",
        start: Literal["any", "upright"] = "any",
    ) -> None:
        if start not in ("any", "upright"):
            raise ConfigError(f"dataset.start={start!r} is not known; use any or upright")
        if box not in ("joints", "image"):
            raise ConfigError(f"dataset.box={box!r} is not known; use joints or image (LSP has no person boxes)")
        joints, visible, digits = read_in_subprocess(read_joints, Path(root) / "joints.mat")
        prefix = "lsp" if digits == 4 else "lspet"
        self.name = prefix if start == "any" else f"{prefix}_shift"
        may_start = is_upright(joints) if start == "upright" else np.ones(len(joints), dtype=np.bool_)
        rows, split = _assign_splits(may_start, val, test, train, split_seed)
        joints = joints[rows]
        visible = visible[rows]
        boxes = compute_joint_boxes(joints, visible)
        if box == "image":
            boxes = np.full_like(boxes, np.nan)
        names = []
        ids = []
        file_names = []
        for row in rows.tolist():
            name = f"im{row + 1:0{digits}d}"
            names.append(name)
            ids.append(f"{prefix}/{name}")
            file_names.append(f"images/{name}.jpg")
        self.folder = Path(root) / "images"
        self.paths = ImageFiles(Path(root), file_names)
        self.records = Records(
            ids=Ids(ids),
            images=Ids(names),
            split=split,
            labels=PoseLabels(LSP_SKELETON, joints, visible),
            boxes=boxes,
            box_source=box,
            may_start=(split == "train") & may_start[rows],
            ground_truth_boxes=box == "joints",
        )

    def check(self) -> None:
        """See `ImageDataset.check`."""
        if not any(self.folder.glob("im*.jpg")):
            prefix, _, _ = self.records.ids[0].partition("/")
            raise DataError(f"{prefix.upper()} has no images in {self.folder}; {REMEDY}")

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return read_image(self.paths[row])

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `ImageDataset.load_reduced`."""
        return read_reduced(self.paths[row], most)


def is_upright(joints: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Check that the head top is above the hips, and the hips above the ankles: (N, 14, 2) → (N,).

    Hips and ankles are the mean of the labelled ones of both sides; False where head top, hips or ankles are missing.
    """
    heights = joints[..., 1]
    index = LSP_SKELETON.joints.index
    head = heights[:, index("head_top")]
    hips = _average_known(heights[:, [index("l_hip"), index("r_hip")]])
    ankles = _average_known(heights[:, [index("l_ankle"), index("r_ankle")]])
    # y points down; a comparison with NaN is False.
    return np.asarray((head < hips) & (hips < ankles), dtype=np.bool_)


def _average_known(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average what is not NaN: (N, M) → (N,); NaN where nothing is known."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _assign_splits(
    may_start: NDArray[np.bool_], val: int, test: int, train: int | None, seed: int | None
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Return the rows that are used, in file order, and the split of each.

    Only rows that `may_start` (N,) are drawn for validation, so that it shows the poses of the first training set.
    """
    count = len(may_start)
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    others = order[: count - test]
    candidates = others[may_start[others]]
    is_possible = val >= 0 and 0 <= test < count and (train is None or train >= 1) and len(candidates) - val >= 1
    if not is_possible:
        raise ConfigError(
            f"dataset.val={val}, dataset.test={test} and dataset.train={train} do not split {count} images "
            f"({int(may_start.sum())} that may start or validate); each part needs at least one"
        )
    # "" marks images beyond `train`, which are not used.
    split = np.full(count, "", dtype="<U5")
    split[order[count - test :]] = "test"
    split[candidates[len(candidates) - val :]] = "val"
    remaining = others[split[others] == ""]
    split[remaining[:train]] = "train"
    rows = np.flatnonzero(split != "")
    return rows, split[rows]
