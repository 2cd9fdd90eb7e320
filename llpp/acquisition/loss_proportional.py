"""Sampling in proportion to the loss: the reading that Shukla & Ahmed (CVPRW 2021) give their objective."""

import numpy as np

from llpp.acquisition.base import Acquisition, select_highest
from llpp.errors import expect
from llpp.setting_rules import is_number
from llpp.types import Candidates


class LossProportionalAcquisition(Acquisition):
    """Draw without replacement with probability ∝ exp(temperature · predicted loss).

    Under the KL objective the prediction is ln l plus a constant, so at temperature 1 an image with n times the
    loss is n times as likely to be drawn.
    """

    needs = frozenset({"predicted_loss"})

    def __init__(self, temperature: float = 1.0) -> None:
        fits = is_number(temperature) and temperature >= 0
        expect(fits, "acquisition.temperature", temperature, "a number, 0 (uniform) or more")
        self.temperature = temperature

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        if candidates.predicted_loss is None:
            raise ValueError("loss_proportional needs candidates with a predicted loss")
        # The highest keys after adding Gumbel noise are a draw without replacement (Kool et al., ICML 2019).
        keys = self.temperature * candidates.predicted_loss.astype(np.float64)
        keys = keys + rng.gumbel(size=len(keys))
        return [candidates.ids[i] for i in select_highest(keys, budget, rng)]
