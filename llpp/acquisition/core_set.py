"""k-centre greedy on embeddings (Sener & Savarese, ICLR 2018, Algorithm 1)."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.farthest import pick_farthest
from llpp.types import Candidates


class CoreSetAcquisition(Acquisition):
    """Label, one after the other, the candidate farthest from everything labelled or selected so far.

    A process that already works with a GPU searches there if the embeddings fit. Memory is the embeddings plus a few
    values per candidate. Ties go to the earlier candidate; with nothing labelled the first centre is drawn at random.
    """

    needs = frozenset({"embedding", "labelled_embedding"})

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        points = candidates.embedding
        centres = candidates.labelled_embedding
        if points is None:
            raise ValueError("core_set needs candidates with an embedding")
        first = None
        if centres is None or len(centres) == 0:
            first = int(rng.integers(max(1, len(candidates.ids))))
        picks = pick_farthest(points, centres, budget, first)
        return [candidates.ids[i] for i in picks]
