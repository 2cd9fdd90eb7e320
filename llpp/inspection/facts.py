"""Facts about a dataset's records, as tables and lines of text. N records, K joints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import SPLITS
from llpp.datasets.pose import COMMON_NORMALISERS, PoseDataset
from llpp.errors import ConfigError
from llpp.tasks.pose.pck import PCKDefinition

VISIBLE = 2
OCCLUDED = 1
NOT_LABELLED = 0


@dataclass(frozen=True)
class Listing:
    """A table of words with remarks below it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    remarks: Sequence[str] = ()


def format_headline(dataset: PoseDataset) -> str:
    """Return the number of persons, images, joints, pairs and limbs in one line."""
    table = dataset.records
    skeleton = dataset.skeleton
    image_count = table.images.assign_codes().max(initial=-1) + 1
    return (
        f"{dataset.name}: {len(table.ids):,} persons in {image_count:,} images; "
        f"{len(skeleton.joints)} joints, {len(skeleton.flip_pairs)} left–right pairs, {len(skeleton.edges)} limbs"
    )


def tabulate_splits(dataset: PoseDataset) -> Listing:
    """Count the persons and images of every split."""
    table = dataset.records
    without_joints = (table.visible == 0).all(axis=1)
    image_codes = table.images.assign_codes()
    rows = []
    for split in SPLITS:
        chosen = table.select_rows(split)
        persons_per_image = np.bincount(image_codes[chosen])
        counts = (
            len(chosen),
            int((persons_per_image > 0).sum()),
            int((persons_per_image > 1).sum()),
            int(table.initial[chosen].sum()),
            int(without_joints[chosen].sum()),
        )
        rows.append((split, *(f"{count:,}" for count in counts)))
    columns = ("split", "persons", "images", "shared images", "for the start", "without joints")
    remarks = ("for the start: may be labelled before round 0",)
    return Listing("Splits", columns, rows, remarks)


def tabulate_joints(dataset: PoseDataset) -> Listing:
    """Count how often each joint is visible, occluded and not labelled, among persons with any labelled joint."""
    visible = dataset.records.visible
    labelled = visible[(visible > 0).any(axis=1)]
    rows = [_build_joint_row(name, labelled[:, k]) for k, name in enumerate(dataset.skeleton.joints)]
    rows.append(_build_joint_row("all", labelled.ravel()))
    title = f"Joints ({len(labelled):,} persons with any)"
    return Listing(title, ("joint", "visible", "occluded", "not labelled"), rows)


def _build_joint_row(name: str, codes: NDArray[np.uint8]) -> tuple[str, ...]:
    counts = []
    for code in (VISIBLE, OCCLUDED, NOT_LABELLED):
        count = int((codes == code).sum())
        counts.append(_format_share(count, codes.size))
    return (name, *counts)


def tabulate_normalisers(dataset: PoseDataset, pck: PCKDefinition) -> Listing:
    """List the lengths that PCK can be measured by, and for how many persons each of them is known."""
    test = dataset.records.select_rows("test")
    rows: list[tuple[str, ...]] = []
    remarks = []
    # A dataset's lengths may include common ones, which must not be listed twice.
    units = dict.fromkeys((*dataset.records.sizes, *COMMON_NORMALISERS))
    for unit in units:
        name = f"{unit} (pck.unit)" if unit == pck.unit else unit
        try:
            normaliser = dataset.get_normaliser(unit)
        except ConfigError:
            rows.append((name, "none", "none", "–"))
            continue
        known = np.isfinite(normaliser.values)
        estimated = known & normaliser.estimated
        row = (
            name,
            _format_share(int(known.sum()), known.size),
            _format_share(int(known[test].sum()), known[test].size),
            _format_share(int(estimated.sum()), int(known.sum())),
        )
        rows.append(row)
        remarks.append(f"{unit}: {normaliser.source}")
    return Listing("PCK's unit", ("unit", "persons", "test persons", "estimated"), rows, remarks)


def describe_boxes(dataset: PoseDataset, padding: float) -> list[str]:
    """Describe where crops come from, how large they are, and what they cut off, one fact per line."""
    table = dataset.records
    has_box = np.isfinite(table.boxes).all(axis=1)
    longer_sides = table.boxes[has_box][:, 2:].max(axis=1)
    lines = [f"boxes from: {table.box_source}"]
    if not len(longer_sides):
        return [*lines, "every crop shows the whole image"]

    low, middle, high = np.percentile(longer_sides, (5, 50, 95))
    lines.append(f"longer side of the box: median {middle:.0f} px, 5 % below {low:.0f}, 5 % above {high:.0f}")

    # A crop is a square around the box's centre; a comparison with NaN, an unknown joint or box, is false.
    centre = table.boxes[:, :2] + table.boxes[:, 2:] / 2
    reach = table.boxes[:, 2:].max(axis=1) * padding / 2
    outside = (np.abs(table.joints - centre[:, None]) > reach[:, None, None]).any(axis=2)
    labelled = table.visible > 0
    share = _format_share(int(outside.sum()), int(labelled.sum()))
    lines.append(f"labelled joints outside their crop: {share}")

    without_box = len(table.boxes) - len(longer_sides)
    if without_box:
        lines.append(f"without a box, so that the crop shows the whole image: {without_box:,}")
    return lines


def _format_share(part: int, whole: int) -> str:
    """Return a count and its percentage; only exactly none and all are shown as 0 % and 100 %."""
    if not whole:
        return "0"
    percent = 100 * part / whole
    if part in (0, whole):
        return f"{part:,} ({percent:.0f} %)"
    percent = min(max(percent, 0.1), 99.9)
    return f"{part:,} ({percent:.1f} %)"
