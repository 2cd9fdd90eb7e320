"""Points in time, as texts that the journal has."""

from datetime import UTC, datetime


def parse_time(text: str) -> str:
    """Return a time of ISO 8601 as the journal has it; empty if it is none, or does not state its zone."""
    try:
        time = datetime.fromisoformat(text.strip())
        return "" if time.tzinfo is None else format_time(time)
    except (ValueError, OverflowError):
        return ""


def format_time(time: datetime) -> str:
    """Return a time with a zone as the journal has it: 2026-11-27T08:30:00Z, or with fractions of a second."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
