"""The contract of acquisition functions: candidates → ids to label next.

N candidates. A selection is deterministic given the generator and leaves its inputs unchanged.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from llpp.types import Candidates

PROGRESS = "progress"
LABELLED = "labelled_"  # what columns of the labelled images begin with
NEEDS = frozenset({"predicted_loss", "true_loss", "embedding", "labelled_embedding", "labelled_true_loss", PROGRESS})


class Acquisition(ABC):
    """Ranks the unlabelled pool and selects from it."""

    # What of Candidates to fill: of NEEDS, or columns of the task, with `labelled_` those of the labelled images.
    needs: frozenset[str] = frozenset()

    @abstractmethod
    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """Return `budget` distinct ids, first the one to label first; all of them if the pool is smaller."""


def select_highest(scores: NDArray[np.floating], budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the positions of the `budget` highest of (N,) scores, in descending order, ties in random order.

    Finding them takes time in proportion to N; only they are sorted.

    Raises:
        ValueError: scores that are not finite, which could land anywhere in the order.
    """
    finite = np.isfinite(scores)
    if not finite.all():
        raise ValueError(f"{int((~finite).sum())} of {len(scores)} scores are not finite")
    # One lot per score breaks ties: all that tie with the last selected score have an equal chance.
    lots = rng.random(len(scores))
    positions = np.arange(len(scores))
    if 0 < budget < len(scores):
        threshold = np.partition(scores, len(scores) - budget)[len(scores) - budget]
        above = np.flatnonzero(scores > threshold)
        tied = np.flatnonzero(scores == threshold)
        remaining = budget - len(above)
        lowest_lots = np.argpartition(lots[tied], remaining - 1)[:remaining]
        positions = np.concatenate([above, tied[lowest_lots]])
    descending = -scores[positions].astype(np.float64)
    order = np.lexsort((lots[positions], descending))
    return positions[order][:budget]
