"""How far two annotators of the same images agree, as a table and as a sentence."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from llpp.files import read_text, replace_text
from llpp.journal.fold import Agreement

FILE = "agreement.csv"  # in the folder of a round of the run
MAX_BYTES = 1 << 20
COLUMNS = ("joint", "pairs", "distance_by_box", "distance_by_torso", "other_visibility", "one_has_none", "oks_sigma")


def write_agreement(agreement: Agreement, path: Path) -> None:
    """Write one row per joint; see `Agreement` for the columns. Unknown values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, joint in enumerate(agreement.joints):
        sigma = math.nan if agreement.sigmas is None else float(agreement.sigmas[place])
        row = [
            joint,
            int(agreement.pairs[place]),
            _format_number(float(agreement.distance[place])),
            _format_number(float(agreement.torso_distance[place])),
            int(agreement.visibility[place]),
            int(agreement.unpaired[place]),
            _format_number(sigma),
        ]
        writer.writerow(row)
    replace_text(path, text.getvalue())


def read_distances(path: Path) -> dict[str, float]:
    """Read how far annotators are apart, in units of the torso or, where that is not known, of the box, by joint.

    Nothing if there is no such file, or it is damaged.
    """
    distances = {}
    try:
        for row in csv.DictReader(io.StringIO(read_text(path, MAX_BYTES))):
            value = row["distance_by_torso"] or row["distance_by_box"]
            if value:
                distances[row["joint"]] = float(value)
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}
    return distances


def describe_agreement(agreement: Agreement) -> str:
    """Say how far annotators are apart; empty if no image has two of them."""
    is_known = np.isfinite(agreement.distance)
    if not agreement.images or not is_known.any():
        return ""
    median = float(np.median(agreement.distance[is_known]))
    worst = int(np.nanargmax(agreement.distance))
    return (
        f"{agreement.images} images are labelled by two annotators, whose joints are {100 * median:.1f} % of the "
        f"box's longer side apart (median; most for {agreement.joints[worst]}: "
        f"{100 * float(agreement.distance[worst]):.1f} %); {int(agreement.visibility.sum())} joints are visible for "
        f"one of them and occluded for the other, {int(agreement.unpaired.sum())} are labelled by one only"
    )


def _format_number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
