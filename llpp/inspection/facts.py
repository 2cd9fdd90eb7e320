"""Facts about a dataset's records, whatever the task, as tables and lines of text. N records."""

import numpy as np

from llpp.datasets.base import SPLITS
from llpp.tasks.base import Listing, Task


def format_headline(task: Task) -> str:
    """Return the number of records and images, and what their labels are, in one line."""
    records = task.dataset.records
    image_count = records.images.assign_codes().max(initial=-1) + 1
    return (
        f"{task.dataset.name}: {len(records.ids):,} {task.record_word} in {image_count:,} images; "
        f"{task.describe_labels()}"
    )


def tabulate_splits(task: Task) -> Listing:
    """Count the records and images of every split."""
    records = task.dataset.records
    unlabelled = ~records.labels.is_labelled
    image_codes = records.images.assign_codes()
    rows = []
    for split in SPLITS:
        chosen = records.select_rows(split)
        records_per_image = np.bincount(image_codes[chosen])
        counts = (
            len(chosen),
            int((records_per_image > 0).sum()),
            int((records_per_image > 1).sum()),
            int(records.may_start[chosen].sum()),
            int(unlabelled[chosen].sum()),
        )
        rows.append((split, *(f"{count:,}" for count in counts)))
    missing = records.labels.missing.replace("no ", "without ", 1)
    columns = ("split", task.record_word, "images", "shared images", "for the start", missing)
    remarks = ("for the start: may be labelled before round 0",)
    return Listing("Splits", columns, rows, remarks)


def describe_boxes(task: Task, padding: float) -> list[str]:
    """Describe where crops come from, how large they are, and what they cut off, one fact per line."""
    records = task.dataset.records
    has_box = np.isfinite(records.boxes).all(axis=1)
    longer_sides = records.boxes[has_box][:, 2:].max(axis=1)
    lines = [f"boxes from: {records.box_source}"]
    if not len(longer_sides):
        return [*lines, "every crop shows the whole image"]

    low, middle, high = np.percentile(longer_sides, (5, 50, 95))
    lines.append(f"longer side of the box: median {middle:.0f} px, 5 % below {low:.0f}, 5 % above {high:.0f}")
    lines += task.describe_crops(padding)
    without_box = len(records.boxes) - len(longer_sides)
    if without_box:
        lines.append(f"without a box, so that the crop shows the whole image: {without_box:,}")
    return lines
