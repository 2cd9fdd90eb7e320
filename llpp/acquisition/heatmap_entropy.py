"""Entropy of the heatmaps as distributions over cells: the usual baseline of active learning for poses."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.types import Candidates


class HeatmapEntropyAcquisition(Acquisition):
    """Label the images with the highest mean over joints of Σ -p ln p, p a map's shares of its cells; for poses."""

    def __init__(self, trim: float = 0.0, trim_unfound: bool = False) -> None:
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {"heatmap_entropy"}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        entropy = candidates.columns.get("heatmap_entropy")
        if entropy is None:
            raise ValueError("heatmap_entropy needs candidates with the entropy of their heatmaps")
        return select_highest_kept(self.trim, candidates, entropy, budget, rng)
