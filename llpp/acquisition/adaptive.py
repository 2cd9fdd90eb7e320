"""From random images to failures, as far as the model is known to be good: a schedule by measured competence.

Where a model fails on most images, those with the highest losses teach it less than random ones do; where it is good
at most, they teach it more (docs/results.md). Published curves cross as well, and are answered by schedules: ClaSP PE
(TMLR 2026) counts rounds, DCoM (2024) measures how much of the pool is covered, VATL4Pose (WACV 2024) how well the
images labelled last were predicted. Here an audit and the validation images measure how good the model is.
"""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.ramp import Ramp
from llpp.acquisition.spaces import Space
from llpp.acquisition.stratified_draw import StratifiedDraw
from llpp.acquisition.trimming import Trim
from llpp.types import Candidates, Progress


class AdaptiveAcquisition(Acquisition):
    """Draw as `stratified_power` does, with a β that the measured competence decides.

    Up to `competence_low`, and where nothing has been measured, β is 0 and the draw is that of `random`. From there β
    rises in proportion, to `beta_most` at `competence_high`.
    """

    def __init__(
        self,
        competence_low: float = 0.6,
        competence_high: float = 0.8,
        beta_most: float = 4.0,
        strata: int | str = "auto",
        space: str = "pose",
        trim: float = 0.03,
        trim_unfound: bool = False,
    ) -> None:
        ramp = Ramp(competence_low, competence_high, beta_most)
        self.stratified_draw = StratifiedDraw(ramp, Space(space), strata, Trim(trim, trim_unfound))
        self.needs = frozenset({"predicted_loss"}) | self.stratified_draw.needs

    def compute_beta(self, progress: Progress | None) -> float:
        """See `Acquisition.compute_beta`."""
        return self.stratified_draw.tilt.compute(progress)

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        losses = candidates.predicted_loss
        if losses is None:
            raise ValueError("adaptive needs candidates with a predicted loss")
        if self.compute_beta(candidates.progress) == 0:
            # Neither strata nor trimming: clusters of poses that a weak model predicts are clusters of its failures.
            rows = rng.permutation(len(candidates.ids))[:budget]
        else:
            rows = self.stratified_draw.draw(candidates, losses, losses, budget, rng)
        return [candidates.ids[row] for row in rows]
