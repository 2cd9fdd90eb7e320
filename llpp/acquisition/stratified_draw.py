"""Drawing candidates with high scores, most of them evenly from strata of the pool."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.k_means import cluster
from llpp.acquisition.ramp import Ramp
from llpp.acquisition.spaces import Space
from llpp.acquisition.strata import count_strata, pick_stratified
from llpp.acquisition.tilting import Tilt, compute_normal_scores, draw_keys
from llpp.acquisition.trimming import Trim
from llpp.errors import expect
from llpp.types import Candidates

AUTO = "auto"


@dataclass(frozen=True)
class StratifiedDraw:
    """Draw with probability ∝ exp(β u), two thirds of the budget evenly from the clusters of a space.

    u is the normal score of a candidate's rank, see `tilting`; how the strata are used, see `pick_stratified`.
    """

    tilt: Tilt | Ramp
    space: Space
    strata: int | str  # their number; auto: the square root of the budget, 8 at least; 1: none
    trim: Trim

    def __post_init__(self) -> None:
        fits = self.strata == AUTO or (type(self.strata) is int and self.strata >= 1)
        expect(fits, "acquisition.strata", self.strata, "auto, or a whole number, 1 or more")

    @property
    def needs(self) -> frozenset[str]:
        """What of Candidates it takes."""
        needs = self.tilt.needs | self.trim.needs
        return needs if self.strata == 1 else needs | self.space.needs

    def draw(
        self,
        candidates: Candidates,
        losses: NDArray[np.floating],
        scores: NDArray[np.floating],
        budget: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return rows in the order of selection; `losses` (N,) decide what is trimmed, `scores` (N,) the rest."""
        kept = self.trim.find_kept(candidates, losses, budget)
        beta = self.tilt.compute(candidates.progress)
        strata = self._find_strata(candidates, budget, rng)
        keys = draw_keys(compute_normal_scores(scores[kept]), beta, rng)
        return kept[pick_stratified(keys, strata[kept], budget)]

    def _find_strata(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the number of each candidate's stratum (N,)."""
        count = count_strata(budget) if isinstance(self.strata, str) else self.strata
        if count == 1 or not len(candidates.ids):
            return np.zeros(len(candidates.ids), dtype=np.int64)
        points, _, _ = self.space.get_points(candidates)
        _, labels = cluster(points, count, rng)
        return labels
