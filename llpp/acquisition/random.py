"""Uniform selection: the baseline that every other acquisition must beat."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.types import Candidates


class RandomAcquisition(Acquisition):
    """Label ids drawn uniformly without replacement."""

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        return [candidates.ids[i] for i in rng.permutation(len(candidates.ids))[:budget]]
