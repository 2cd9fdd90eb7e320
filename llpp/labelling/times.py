"""When people answered, and how long it took them."""

import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

from llpp.oracles.tool import Entry

SLOWEST = 10  # times the median: a tab that was left open


def parse_time(text: str) -> str:
    """Return a time in UTC as the journal has it; empty if it is none."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return format_time(time.astimezone(UTC))
    except (ValueError, OverflowError):
        return ""


def format_time(time: datetime) -> str:
    """Return a time in UTC as the journal has it."""
    return time.replace(tzinfo=None).isoformat() + "Z"


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
