"""Multi-peak entropy of heatmaps (Liu & Ferrari, ICCV 2017), without their influence term."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.errors import expect
from llpp.types import Candidates

COLUMNS = {"found": "found_peak_entropy", "top": "top_peak_entropy"}


class MultiPeakEntropyAcquisition(Acquisition):
    """Label the images whose heatmaps have several peaks that are alike; for poses.

    The score is the mean over joints of Σ -p ln p, p the softmax over the heights of a map's local maxima. Published
    code reads this in two ways: `found` takes maxima of a quarter of the full height or more, so that a joint without
    any counts as sure; `top` takes the five highest, however low, so that a joint that is not found counts as ln 5.
    See `llpp.tasks.pose.heatmap_columns`.
    """

    def __init__(self, reading: str = "top", trim: float = 0.0, trim_unfound: bool = False) -> None:
        expect(reading in COLUMNS, "acquisition.reading", reading, " or ".join(COLUMNS))
        self.column = COLUMNS[reading]
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {self.column}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        entropy = candidates.columns.get(self.column)
        if entropy is None:
            raise ValueError(f"multi_peak_entropy needs candidates with {self.column}")
        return select_highest_kept(self.trim, candidates, entropy, budget, rng)
