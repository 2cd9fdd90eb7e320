"""k-centre greedy on embeddings (Sener & Savarese, ICLR 2018, Algorithm 1)."""

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition
from llpp.types import Candidates

Points = NDArray[np.float32]
CENTRES_AT_ONCE = 256  # bounds the block of distances to labelled points: pool × this


class CoreSetAcquisition(Acquisition):
    """Label, one after the other, the candidate farthest from everything labelled or chosen so far.

    Memory is the embeddings plus a few values per candidate. Ties go to the earlier candidate; with nothing
    labelled the first centre is drawn at random.
    """

    needs = frozenset({"embedding", "labelled_embedding"})

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        if candidates.embedding is None:
            raise ValueError("core_set needs candidates with an embedding")
        if not np.isfinite(candidates.embedding).all():
            raise ValueError("core_set met embeddings that are not finite; they have no distance to anything")
        labelled = candidates.labelled_embedding
        first = None if labelled is not None and len(labelled) else int(rng.integers(max(1, len(candidates.ids))))
        picks = k_centre_greedy(candidates.embedding, labelled, budget, first)
        return [candidates.ids[i] for i in picks]


def k_centre_greedy(points: Points, centres: Points | None, budget: int, first: int | None = None) -> list[int]:
    """Rows of `points` (N, D) in the order of selection, given `centres` (L, D) that are there already.

    Squared distances come from |x|² + |c|² - 2 x·c on centred points, one matrix–vector product per pick.
    """
    budget = min(budget, len(points))
    if budget == 0:
        return []
    mean = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    points = points - mean
    norms = np.einsum("nd,nd->n", points, points)
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    for start in range(0, 0 if centres is None else len(centres), CENTRES_AT_ONCE):
        block = centres[start : start + CENTRES_AT_ONCE] - mean  # type: ignore[index]  # not None in this loop
        squared = points @ block.T
        squared *= -2
        squared += np.einsum("ld,ld->l", block, block)
        np.minimum(nearest, squared.min(axis=1) + norms, out=nearest)
    picks: list[int] = []
    for _ in range(budget):
        pick = first if first is not None and not picks else int(nearest.argmax())
        picks.append(pick)
        to_pick = points @ points[pick]
        np.minimum(nearest, norms + norms[pick] - 2 * to_pick, out=nearest)
        nearest[picks] = -np.inf
    return picks
