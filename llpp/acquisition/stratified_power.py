"""Power sampling in strata: ClaSP PE (TMLR 2026) with the predicted loss and clusters of poses for its classes.

Stochastic batches by Kirsch et al. (TMLR 2023): sampling in proportion to a power of the score is as good as methods
that search for a diverse batch.
"""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.spaces import Space
from llpp.acquisition.stratified_draw import StratifiedDraw
from llpp.acquisition.tilting import Tilt
from llpp.acquisition.trimming import Trim
from llpp.types import Candidates, Progress


class StratifiedPowerAcquisition(Acquisition):
    """Draw without replacement with probability ∝ exp(β u), u the normal score of the predicted loss's rank.

    Two thirds of the budget are spread evenly over k-means clusters of the predicted poses. With strata=1 and trim=0,
    β = 0 is `random` and β = ∞ is `predicted_loss`: one file draws the curve between them.
    """

    def __init__(
        self,
        beta: float | str = "schedule",
        beta_first: float = 0.5,
        beta_last: float = 3.0,
        strata: int | str = "auto",
        space: str = "pose",
        trim: float = 0.03,
        trim_unfound: bool = False,
    ) -> None:
        tilt = Tilt(beta, beta_first, beta_last)
        self.stratified_draw = StratifiedDraw(tilt, Space(space), strata, Trim(trim, trim_unfound))
        self.needs = frozenset({"predicted_loss"}) | self.stratified_draw.needs

    def compute_beta(self, progress: Progress | None) -> float:
        """See `Acquisition.compute_beta`."""
        return self.stratified_draw.tilt.compute(progress)

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        losses = candidates.predicted_loss
        if losses is None:
            raise ValueError("stratified_power needs candidates with a predicted loss")
        rows = self.stratified_draw.draw(candidates, losses, losses, budget, rng)
        return [candidates.ids[row] for row in rows]
