"""Where the time of a round goes."""

import time

from llpp.run_dir.state import Row


class Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.since = time.perf_counter()

    def record_lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self.since
        self.since = now

    def to_row(self) -> Row:
        """The laps as columns of a round's row."""
        return {f"seconds_{name}": round(seconds, 3) for name, seconds in self.laps.items()}
