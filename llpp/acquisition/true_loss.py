"""Top-k of the true loss: a reference for simulations, which no real labelling job can compute."""

import numpy as np

from llpp.acquisition.base import Acquisition, select_highest
from llpp.types import Candidates


class TrueLossAcquisition(Acquisition):
    """Label what the network gets most wrong; only where the pool's labels are already known."""

    needs = frozenset({"true_loss"})

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        if candidates.true_loss is None:
            raise ValueError("true_loss needs labels for the whole pool; it is a reference for simulations")
        return [candidates.ids[i] for i in select_highest(candidates.true_loss, budget, rng)]
