"""Leaving out the candidates from which nothing can be learned: the highest of all scores, and hopeless images.

The images with the highest losses are often those with wrong or no labels, or on which nobody is found ("Mind your
outliers!", Karamcheti et al., ACL 2021).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import check_finite, select_highest
from llpp.errors import expect
from llpp.setting_rules import is_number
from llpp.types import Candidates

JOINTS_FOUND = "joints_found"


@dataclass(frozen=True)
class Trim:
    """Which candidates are left out; never so many that the budget cannot be spent."""

    share: float  # of the candidates, those with the highest scores
    unfound: bool  # also images on which no joint is found; of poses only, by a network that finds most

    def __post_init__(self) -> None:
        fits = is_number(self.share) and 0 <= self.share < 1
        expect(fits, "acquisition.trim", self.share, "a share, 0 to less than 1")
        expect(isinstance(self.unfound, bool), "acquisition.trim_unfound", self.unfound, "true or false")

    @property
    def needs(self) -> frozenset[str]:
        """What of Candidates it takes."""
        return frozenset({JOINTS_FOUND}) if self.unfound else frozenset()

    def find_kept(self, candidates: Candidates, scores: NDArray[np.floating], budget: int) -> NDArray[np.int64]:
        """Return the rows to choose from, ascending; `scores` are (N,), and a budget of N or more keeps all.

        Raises:
            ValueError: scores that are not finite, which might be left out unnoticed.
        """
        check_finite(scores)
        left_out = np.zeros(len(scores), dtype=np.bool_)
        count = int(self.share * len(scores))
        if count:
            left_out[np.argpartition(scores, len(scores) - count)[len(scores) - count :]] = True
        if self.unfound:
            joints = candidates.columns.get(JOINTS_FOUND)
            if joints is None:
                raise ValueError(f"acquisition.trim_unfound needs candidates with {JOINTS_FOUND}")
            left_out |= joints == 0
        lacking = budget - (len(scores) - int(left_out.sum()))
        if lacking > 0:
            # Of those left out, the least extreme ones come back.
            rows = np.flatnonzero(left_out)
            left_out[rows[np.argsort(scores[rows], kind="stable")[:lacking]]] = False
        return np.flatnonzero(~left_out)


def select_highest_kept(
    trim: Trim, candidates: Candidates, scores: NDArray[np.floating], budget: int, rng: np.random.Generator
) -> list[str]:
    """Return the ids with the `budget` highest of the (N,) scores that are not trimmed, the highest first."""
    kept = trim.find_kept(candidates, scores, budget)
    return [candidates.ids[row] for row in kept[select_highest(scores[kept], budget, rng)]]
