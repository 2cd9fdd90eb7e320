"""Top-k of the predicted loss (Yoo & Kweon, CVPR 2019, §3)."""

import numpy as np

from llpp.acquisition.base import Acquisition, select_highest
from llpp.types import Candidates


class PredictedLossAcquisition(Acquisition):
    """Label what the head expects the network to get most wrong."""

    needs = frozenset({"predicted_loss"})

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        if candidates.predicted_loss is None:
            raise ValueError("predicted_loss needs candidates with a predicted loss")
        return [candidates.ids[i] for i in select_highest(candidates.predicted_loss, budget, rng)]
