"""Improbable lengths of limbs (VL4Pose: Shukla et al., BMVC 2022)."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.types import Candidates

COLUMN = "link_log_likelihood"


class VL4PoseAcquisition(Acquisition):
    """Label the images whose predicted poses are least likely; for poses.

    The score is -Σ ln N(‖y_a - y_b‖; d, v) over the links a–b of a tree of the skeleton, whose mean lengths d and
    variances v an auxiliary learns to predict from the features: `llpp.auxiliaries.link_lengths`. It costs no pass.
    """

    def __init__(self, trim: float = 0.0, trim_unfound: bool = False) -> None:
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {COLUMN}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        likelihood = candidates.columns.get(COLUMN)
        if likelihood is None:
            raise ValueError(f"vl4pose needs candidates with {COLUMN}")
        return select_highest_kept(self.trim, candidates, -likelihood, budget, rng)
