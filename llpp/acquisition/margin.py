"""Margin between the two most probable classes (Scheffer, Decomain & Wrobel 2001)."""

import numpy as np

from llpp.acquisition.base import Acquisition, select_highest
from llpp.types import Candidates


class MarginAcquisition(Acquisition):
    """Label the images whose two largest softmax probabilities are closest; for classification."""

    needs = frozenset({"margin"})

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        margin = candidates.columns.get("margin")
        if margin is None:
            raise ValueError("margin needs candidates with the margin of their predicted classes")
        rows = select_highest(-margin, budget, rng)
        return [candidates.ids[row] for row in rows]
