"""Least confidence (Lewis & Gale, SIGIR 1994), for poses as in Feng et al. (WACV 2023)."""

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.errors import expect
from llpp.types import Candidates


class LeastConfidenceAcquisition(Acquisition):
    """Label the images of which the network is least sure by its own output; it needs no head.

    `mean` ranks by 1 less the confidence: of a class its probability, of a pose the mean over joints of the maximum
    of their heatmaps. `std` ranks by the standard deviation over joints of these maxima: of a pose some of whose
    joints are surer than others.
    """

    def __init__(self, over_joints: str = "mean", trim: float = 0.0, trim_unfound: bool = False) -> None:
        expect(over_joints in ("mean", "std"), "acquisition.over_joints", over_joints, "mean or std")
        self.column = "confidence" if over_joints == "mean" else "joint_confidence"
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {self.column}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        confidence = candidates.columns.get(self.column)
        if confidence is None:
            raise ValueError(f"least_confidence needs candidates with {self.column}")
        scores: NDArray[np.float32] = -confidence
        if confidence.ndim > 1:
            scores = confidence.std(axis=1)
        return select_highest_kept(self.trim, candidates, scores, budget, rng)
