"""Entropy of the predicted classes: the usual measure of a classifier's uncertainty (Shannon 1948; Settles 2009)."""

import numpy as np

from llpp.acquisition.base import Acquisition, select_highest
from llpp.types import Candidates


class EntropyAcquisition(Acquisition):
    """Label the images whose softmax probabilities have the highest entropy; for classification."""

    needs = frozenset({"entropy"})

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        entropy = candidates.columns.get("entropy")
        if entropy is None:
            raise ValueError("entropy needs candidates with the entropy of their predicted classes")
        rows = select_highest(entropy, budget, rng)
        return [candidates.ids[row] for row in rows]
