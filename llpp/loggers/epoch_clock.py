"""When a round's last epoch will be reached, by the epochs that this process has trained."""

import time

from llpp.rounds.time_left import format_duration


class EpochClock:
    """Measures from the first epoch that this process trains; a resumed round begins later than with its first."""

    def __init__(self) -> None:
        self.since = 0.0
        self.done_before = 0  # epochs that another process has trained

    def start(self, done_before: int) -> None:
        """Begin to measure, with so many epochs of the round done."""
        self.since = time.monotonic()
        self.done_before = done_before

    def describe(self, done: int, epochs: int) -> str | None:
        """Words about when `done` of `epochs` will be all; None where they are, or none has been measured."""
        measured = done - self.done_before
        if measured < 1 or done >= epochs:
            return None
        per_epoch = (time.monotonic() - self.since) / measured
        return f"last epoch in about {format_duration(per_epoch * (epochs - done))}"
