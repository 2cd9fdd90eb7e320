"""How long the rest of a run will take, by what its last round took."""

from collections.abc import Mapping

from llpp.settings import Settings

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def format_duration(seconds: float) -> str:
    """40 → "40 s", 200 → "3 min", 9000 → "2.5 h", 180000 → "2.1 days"."""
    if seconds < 1.5 * MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 1.5 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds / HOUR:.1f} h"
    return f"{seconds / DAY:.1f} days"


def describe_time_left(row: Mapping[str, float | int | None], settings: Settings) -> str:
    """Return what the line of a round says at its end; nothing after the last one, and where nothing is known."""
    seconds = estimate_seconds_left(row, settings)
    return "" if seconds is None else f" · about {format_duration(seconds)} left"


def estimate_seconds_left(row: Mapping[str, float | int | None], settings: Settings) -> float | None:
    """Seconds that the rounds after the one with this row will take; None if there are none, or it trained nothing.

    Training takes time in proportion to the labelled images, scoring to those that are scored; the last round only
    trains and tests.
    """
    number = int(row["round"] or 0)
    labelled = row["labelled"]
    if settings.rounds is None or number + 1 >= settings.rounds:
        return None
    if row["base_reused"] or not labelled:
        return None
    pool = row["pool"] or 0
    seconds_left = 0.0
    for later in range(number + 1, settings.rounds):
        more = (later - number) * settings.budget
        seconds_left += _get_seconds(row, "train") * (labelled + more) / labelled
        seconds_left += _get_seconds(row, "test")
        if later < settings.rounds - 1:
            scored = _count_scored(pool - more, settings) / max(1, _count_scored(pool, settings))
            seconds_left += _get_seconds(row, "score") * scored + _get_seconds(row, "select")
    return seconds_left


def _get_seconds(row: Mapping[str, float | int | None], part: str) -> float:
    return float(row.get(f"seconds_{part}") or 0.0)


def _count_scored(unlabelled: float, settings: Settings) -> float:
    """How many of the unlabelled images a round scores."""
    return unlabelled if settings.subset is None else min(unlabelled, settings.subset)
