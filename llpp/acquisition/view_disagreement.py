"""Disagreement of six views of an image about where the joints are."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.types import Candidates


class ViewDisagreementAcquisition(Acquisition):
    """Label the images whose joints move most from view to view; for poses.

    The views are the image, its mirror image, and the image turned and scaled both ways. The score is the mean
    distance of the joints to their mean over the views, as a share of the crop's side. The network sees every
    candidate six times, so that scoring takes about six times as long.
    """

    def __init__(self, trim: float = 0.0, trim_unfound: bool = False) -> None:
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {"view_distance"}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        distance = candidates.columns.get("view_distance")
        if distance is None:
            raise ValueError("view_disagreement needs candidates with the distance between their views")
        return select_highest_kept(self.trim, candidates, distance, budget, rng)
