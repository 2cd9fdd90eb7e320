"""What a dataset's table says about itself. N records, K joints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llpp.datasets.base import SPLITS
from llpp.datasets.pose import COMMON_NORMALISERS, PoseDataset
from llpp.errors import ConfigError
from llpp.tasks.pose.pck import PCKDefinition


@dataclass(frozen=True)
class Listing:
    """A table of words with remarks below it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    remarks: Sequence[str] = ()


def format_headline(dataset: PoseDataset) -> str:
    """The size of everything, in one line."""
    table, skeleton = dataset.records, dataset.skeleton
    return (
        f"{dataset.name}: {len(table.ids):,} persons in {table.images.assign_codes().max(initial=-1) + 1:,} images; "
        f"{len(skeleton.joints)} joints, {len(skeleton.flip_pairs)} left–right pairs, {len(skeleton.edges)} limbs"
    )


def tabulate_splits(dataset: PoseDataset) -> Listing:
    """Persons and images of every split."""
    table = dataset.records
    bare = (table.visible == 0).all(axis=1)
    image = table.images.assign_codes()
    rows = []
    for split in SPLITS:
        chosen = table.select_rows(split)
        persons = np.bincount(image[chosen])  # by image
        images, several = int((persons > 0).sum()), int((persons > 1).sum())
        counts = (len(chosen), images, several, int(table.initial[chosen].sum()), int(bare[chosen].sum()))
        rows.append((split, *(f"{number:,}" for number in counts)))
    columns = ("split", "persons", "images", "shared images", "for the start", "without joints")
    remarks = ("for the start: may be labelled before round 0",)
    return Listing("Splits", columns, rows, remarks)


def tabulate_joints(dataset: PoseDataset) -> Listing:
    """How often each joint is visible, occluded and not labelled, among persons with any labelled joint."""
    visible = dataset.records.visible
    known = visible[(visible > 0).any(axis=1)]
    names = [*dataset.skeleton.joints, "all"]
    rows: list[tuple[str, ...]] = []
    for name, column in zip(names, [*known.T, known.ravel()], strict=True):
        rows.append((name, *(_format_share(int((column == code).sum()), column.size) for code in (2, 1, 0))))
    title = f"Joints ({len(known):,} persons with any)"
    return Listing(title, ("joint", "visible", "occluded", "not labelled"), rows)


def tabulate_normalisers(dataset: PoseDataset, pck: PCKDefinition) -> Listing:
    """The lengths that PCK can be measured by, and for how many persons they are known."""
    test = dataset.records.select_rows("test")
    rows: list[tuple[str, ...]] = []
    remarks = []
    for unit in dict.fromkeys((*dataset.records.sizes, *COMMON_NORMALISERS)):
        name = f"{unit} (pck.unit)" if unit == pck.unit else unit
        try:
            size = dataset.get_normaliser(unit)
        except ConfigError:
            rows.append((name, "none", "none", "–"))
            continue
        known = np.isfinite(size.values)
        estimated = _format_share(int((known & size.estimated).sum()), int(known.sum()))
        rows.append(
            (name, *(_format_share(int(found.sum()), found.size) for found in (known, known[test])), estimated)
        )
        remarks.append(f"{unit}: {size.source}")
    return Listing("PCK's unit", ("unit", "persons", "test persons", "estimated"), rows, remarks)


def describe_boxes(dataset: PoseDataset, padding: float) -> list[str]:
    """Where crops come from, how large they are, and what they cut off."""
    table = dataset.records
    sides = table.boxes[np.isfinite(table.boxes).all(axis=1)][:, 2:].max(axis=1)
    lines = [f"boxes from: {table.box_source}"]
    if not len(sides):
        return [*lines, "every crop shows the whole image"]
    low, middle, high = np.percentile(sides, (5, 50, 95))
    lines.append(f"longer side of the box: median {middle:.0f} px, 5 % below {low:.0f}, 5 % above {high:.0f}")
    centre, reach = table.boxes[:, :2] + table.boxes[:, 2:] / 2, table.boxes[:, 2:].max(axis=1) * padding / 2
    outside = (np.abs(table.joints - centre[:, None]) > reach[:, None, None]).any(axis=2)
    lines.append(
        f"labelled joints outside their crop: {_format_share(int(outside.sum()), int((table.visible > 0).sum()))}"
    )
    if whole := len(table.boxes) - len(sides):
        lines.append(f"without a box, so that the crop shows the whole image: {whole:,}")
    return lines


def _format_share(part: int, whole: int) -> str:
    """A count and its percentage: 0 % and 100 % are exact."""
    if not whole:
        return "0"
    percent = 100 * part / whole
    words = f"{percent:.0f}" if part in (0, whole) else f"{min(max(percent, 0.1), 99.9):.1f}"
    return f"{part:,} ({words} %)"
