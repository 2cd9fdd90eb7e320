"""β that rises with how good the model has been measured to be."""

import math
from dataclasses import dataclass

from llpp.acquisition.base import PROGRESS
from llpp.errors import expect
from llpp.types import Progress


@dataclass(frozen=True)
class Ramp:
    """β is 0 up to the competence `low`, `most` from `high` on, and rises in proportion between them.

    Where the competence is unknown, β is 0. See `tilting` for what β is.
    """

    low: float
    high: float
    most: float

    def __post_init__(self) -> None:
        values = {"competence_low": self.low, "competence_high": self.high, "beta_most": self.most}
        for name, value in values.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            expect(is_number, f"acquisition.{name}", value, "a number")
        expect(0 <= self.low < 1, "acquisition.competence_low", self.low, "a number, 0 to less than 1")
        fits = self.low < self.high <= 1
        expect(fits, "acquisition.competence_high", self.high, f"a number above competence_low={self.low}, at most 1")
        expect(0 < self.most < math.inf, "acquisition.beta_most", self.most, "a finite number above 0")

    @property
    def needs(self) -> frozenset[str]:
        """What of Candidates it takes."""
        return frozenset({PROGRESS})

    def compute(self, progress: Progress | None) -> float:
        """Return β of the round that selects now."""
        if progress is None:
            raise ValueError("a β that follows the competence needs candidates with the progress of the run")
        if progress.competence is None or progress.competence <= self.low:
            return 0.0
        share = (progress.competence - self.low) / (self.high - self.low)
        return self.most * min(share, 1.0)
