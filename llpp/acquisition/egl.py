"""Expected gradient length (EGL: Settles et al., NeurIPS 2007; EGL++: Shukla, WACV 2022)."""

import numpy as np

from llpp.acquisition.base import GRADIENT_LENGTH, Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.types import Candidates


class EGLAcquisition(Acquisition):
    """Label the images that would change the network most, if their labels were those of similar labelled images.

    The score is Σ_j p(j|u) ‖∇ loss(u, label of j)‖² over the 30 labelled images whose embeddings are closest, p(j|u)
    their affinities as in t-SNE at a perplexity of 20. As published, but for two things: the gradient is that of the
    last layer alone, which needs no passes back through the network, and labels stand for themselves, where the
    published code can also take the heatmaps predicted for j. It costs one pass over the labelled images, and 30
    losses with their gradients by the output for each candidate.
    """

    def __init__(self, trim: float = 0.0, trim_unfound: bool = False) -> None:
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {GRADIENT_LENGTH}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        length = candidates.columns.get(GRADIENT_LENGTH)
        if length is None:
            raise ValueError(f"egl needs candidates with {GRADIENT_LENGTH}")
        return select_highest_kept(self.trim, candidates, length, budget, rng)
