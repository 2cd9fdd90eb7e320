"""Leeds Sports Pose (Johnson & Everingham, BMVC 2010) and its extended set (CVPR 2011), as published.

`joints.mat` of LSP is (3, 14, N) with flag 1 = occluded; that of LSPET is (14, 3, N) with flag 1 = labelled,
and where the flag is 0 the coordinates mean nothing. Which of the two a file is, its shape tells.
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

    The last `test` images are the test split and the `val` before them the validation split, in the file's order
    or, with `split_seed`, in a random one. `train` keeps at most so many of the others. With `start` upright, only
    upright people (see `upright`) are validation images and may be labelled before round 0, while pool and test
    stay mixed: the poses that the first model knows are not those that it meets.
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
            raise ConfigError(f"dataset.box={box!r} is not known; use joints or image (LSP has no boxes of its own)")
        joints, visible, digits = read_in_subprocess(read_joints, Path(root) / "joints.mat")
        prefix = "lsp" if digits == 4 else "lspet"
        self.name = prefix if start == "any" else f"{prefix}_shift"
        fit = is_upright(joints) if start == "upright" else np.ones(len(joints), dtype=np.bool_)
        rows, split = _assign_splits(fit, val, test, train, split_seed)
        joints, visible = joints[rows], visible[rows]
        names = [f"im{row + 1:0{digits}d}" for row in rows.tolist()]
        self.folder = Path(root) / "images"
        self.paths = ImageFiles(self.folder, (f"{name}.jpg" for name in names))
        boxes = compute_joint_boxes(joints, visible)
        self.records = Records(
            ids=Ids(f"{prefix}/{name}" for name in names),
            images=Ids(names),
            split=split,
            labels=PoseLabels(LSP_SKELETON, joints, visible),
            boxes=boxes if box == "joints" else np.full_like(boxes, np.nan),
            box_source=box,
            may_start=(split == "train") & fit[rows],
            ground_truth_boxes=box == "joints",
        )

    def check(self) -> None:
        """See `PoseDataset.check`."""
        if not any(self.folder.glob("im*.jpg")):
            raise DataError(
                f"{self.records.ids[0].partition('/')[0].upper()} has no images in {self.folder}; {REMEDY}"
            )

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `PoseDataset.load`."""
        return read_image(self.paths[row])

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `PoseDataset.reduced`."""
        return read_reduced(self.paths[row], most)


def is_upright(joints: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, 14, 2) → (N,): head top above the hips, and these above the ankles; False if one of them is not labelled.

    Hips and ankles are the mean of the labelled ones of both sides.
    """
    heights = joints[..., 1]
    head = heights[:, LSP_SKELETON.joints.index("head_top")]
    sides = ([LSP_SKELETON.joints.index(f"{side}_{name}") for side in "lr"] for name in ("hip", "ankle"))
    hips, ankles = (_average_known(heights[:, pair]) for pair in sides)
    return np.asarray((head < hips) & (hips < ankles), dtype=np.bool_)


def _average_known(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) → (N,) over what is not NaN; NaN without any."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _assign_splits(
    fit: NDArray[np.bool_], val: int, test: int, train: int | None, seed: int | None
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Rows that are used, in file order, and the split of each; only those that are `fit` (N,) may validate."""
    count = len(fit)
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    rest = order[: count - test]
    fitting = rest[fit[rest]] if 0 <= test < count else rest[:0]
    if val < 0 or test < 0 or (train is not None and train < 1) or len(fitting) - val < 1:
        raise ConfigError(
            f"dataset.val={val}, dataset.test={test} and dataset.train={train} do not split {count} images "
            f"({int(fit.sum())} that may start or validate); each part needs at least one"
        )
    split = np.full(count, "", dtype="<U5")
    split[order[count - test :]] = "test"
    split[fitting[len(fitting) - val :]] = "val"
    left = rest[split[rest] == ""]
    split[left if train is None else left[:train]] = "train"
    rows = np.flatnonzero(split != "")
    return rows, split[rows]
