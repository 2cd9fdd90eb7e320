"""Facts about the joints of a dataset. N records, K joints."""

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import COMMON_NORMALISERS, PoseDataset, PoseLabels
from llpp.errors import ConfigError
from llpp.ids import Ids
from llpp.tasks.base import Listing, format_share
from llpp.tasks.pose.drawing import VISIBLE

OCCLUDED = 1
NOT_LABELLED = 0
MAX_BEYOND = 1.0  # pixels beyond the border that still count as inside
MAX_NAMED = 3  # persons


def tabulate_joints(labels: PoseLabels) -> Listing:
    """Count how often each joint is visible, occluded and not labelled, among persons with any labelled joint."""
    labelled = labels.visible[labels.is_labelled]
    rows = []
    for index, name in enumerate(labels.skeleton.joints):
        rows.append(_build_joint_row(name, labelled[:, index]))
    rows.append(_build_joint_row("all", labelled.ravel()))
    title = f"Joints ({len(labelled):,} persons with any)"
    return Listing(title, ("joint", "visible", "occluded", "not labelled"), rows)


def _build_joint_row(name: str, codes: NDArray[np.uint8]) -> tuple[str, ...]:
    counts = []
    for code in (VISIBLE, OCCLUDED, NOT_LABELLED):
        count = int((codes == code).sum())
        counts.append(format_share(count, codes.size))
    return (name, *counts)


def tabulate_normalisers(dataset: PoseDataset, chosen: str) -> Listing:
    """List the lengths that PCK can be measured by, and for how many persons each of them is known."""
    test = dataset.records.select_rows("test")
    rows: list[tuple[str, ...]] = []
    remarks = []
    # A dataset's lengths may include common ones, which must not be listed twice.
    names = dict.fromkeys((*dataset.records.labels.normalisers, *COMMON_NORMALISERS))
    for name in names:
        title = f"{name} (pck.normaliser)" if name == chosen else name
        try:
            normaliser = dataset.get_normaliser(name)
        except ConfigError:
            rows.append((title, "none", "none", "–"))
            continue
        known = np.isfinite(normaliser.values)
        estimated = known & normaliser.estimated
        row = (
            title,
            format_share(int(known.sum()), known.size),
            format_share(int(known[test].sum()), known[test].size),
            format_share(int(estimated.sum()), int(known.sum())),
        )
        rows.append(row)
        remarks.append(f"{name}: {normaliser.source}")
    return Listing("PCK's normaliser", ("normaliser", "persons", "test persons", "estimated"), rows, remarks)


def describe_joints_outside(labels: PoseLabels, boxes: NDArray[np.float32], padding: float) -> str:
    """Count the labelled joints outside of square crops of `padding` × the box (N, 4)."""
    # A comparison with NaN, an unknown joint or box, is false.
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    reach = boxes[:, 2:].max(axis=1) * padding / 2
    outside = (np.abs(labels.joints - centre[:, None]) > reach[:, None, None]).any(axis=2)
    labelled = labels.visible > 0
    return f"labelled joints outside their crop: {format_share(int(outside.sum()), int(labelled.sum()))}"


def describe_joints_beyond_images(labels: PoseLabels, ids: Ids, sizes: NDArray[np.float32]) -> list[str]:
    """Count the labelled joints outside of images of these sizes (N, 2), and name some of their persons.

    Whether they are trained with is the dataset's affair; the published ones have some.
    """
    # A comparison with NaN, an unknown joint or size, is false.
    beyond = (labels.joints < -MAX_BEYOND) | (labels.joints > sizes[:, None] - 1 + MAX_BEYOND)
    outside = np.asarray(beyond.any(axis=2))
    count = int(outside.sum())
    if not count:
        return []
    rows = np.flatnonzero(outside.any(axis=1))
    named = ", ".join(ids.take(rows[:MAX_NAMED]))
    more = ", …" if len(rows) > MAX_NAMED else ""
    share = format_share(count, int((labels.visible > 0).sum()))
    return [
        f"labelled joints outside of their image, which are kept: {share}, of {len(rows):,} persons ({named}{more})"
    ]
