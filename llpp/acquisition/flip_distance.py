"""Disagreement of an image and its mirror image about where the joints are."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.types import Candidates


class FlipDistanceAcquisition(Acquisition):
    """Label the images whose joints move most when they are mirrored; for poses.

    The score is the mean distance of the joints, as a share of the crop's side. The network sees every candidate
    twice, so that scoring takes about twice as long.
    """

    def __init__(self, trim: float = 0.0, trim_unfound: bool = False) -> None:
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {"flip_distance"}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        distance = candidates.columns.get("flip_distance")
        if distance is None:
            raise ValueError("flip_distance needs candidates with the distance to their mirror images")
        return select_highest_kept(self.trim, candidates, distance, budget, rng)
