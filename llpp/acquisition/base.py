"""The contract of acquisition functions: candidates → ids to label next.

N candidates. Selecting is deterministic given the generator and leaves its inputs as they are.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from llpp.types import Candidates

NEEDS = frozenset({"predicted_loss", "true_loss", "embedding", "labelled_embedding"})


class Acquisition(ABC):
    """Ranks the unlabelled pool and selects from it."""

    needs: frozenset[str] = frozenset()  # columns of Candidates that a scoring pass must fill, of NEEDS

    @abstractmethod
    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """`budget` distinct ids, first the one to label first; all of them if the pool is smaller."""


def select_highest(scores: NDArray[np.floating], budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions of the `budget` highest of (N,) scores, in descending order, ties in random order.

    Only those are sorted; finding them takes time in proportion to N. Raises ValueError on scores that are not
    finite: they would land anywhere in the order.
    """
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite")
    lot = rng.random(len(scores))  # one per score: whoever ties with the last that is kept has an equal chance
    kept = np.arange(len(scores))
    if 0 < budget < len(scores):
        last = np.partition(scores, len(scores) - budget)[len(scores) - budget]
        above, level = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
        room = budget - len(above)
        kept = np.concatenate([above, level[np.argpartition(lot[level], room - 1)[:room]]])
    return kept[np.lexsort((lot[kept], -scores[kept].astype(np.float64)))][:budget]
