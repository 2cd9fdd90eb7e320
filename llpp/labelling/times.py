"""How long answers took."""

import math
import statistics
from collections.abc import Sequence

from llpp.oracles.tool import Entry

SLOWEST = 10  # times the median: a tab that was left open


def find_slowest(entries: Sequence[Entry]) -> float:
    """Return the most seconds that an answer of a file is believed to have taken."""
    seconds = [entry.seconds for entry in entries if entry.seconds is not None]
    valid = [value for value in seconds if math.isfinite(value) and value > 0]
    return SLOWEST * statistics.median_low(valid) if valid else math.inf


def limit_seconds(seconds: float | None, slowest: float) -> float | None:
    """Return a duration that is believed; None if there is none."""
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, slowest)
