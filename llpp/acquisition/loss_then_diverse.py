"""Many candidates by predicted loss, then a diverse choice among them: as PPAL (Yang et al., CVPR 2024) does."""

import numpy as np

from llpp.acquisition.base import Acquisition, select_highest
from llpp.acquisition.farthest import pick_farthest
from llpp.acquisition.trimming import Trim
from llpp.errors import expect
from llpp.setting_rules import is_number
from llpp.types import Candidates


class LossThenDiverseAcquisition(Acquisition):
    """Of the `factor` × budget candidates with the highest predicted loss, take k centres as `core_set` does.

    The first centre is the farthest from all labelled images; without any, the one with the highest loss.
    """

    def __init__(self, factor: float = 4.0, trim: float = 0.03, trim_unfound: bool = False) -> None:
        fits = is_number(factor) and factor >= 1
        expect(fits, "acquisition.factor", factor, "a number, 1 (the highest losses) or more")
        self.factor = factor
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {"predicted_loss", "embedding", "labelled_embedding"}

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        losses = candidates.predicted_loss
        if losses is None or candidates.embedding is None:
            raise ValueError("loss_then_diverse needs candidates with a predicted loss and an embedding")
        kept = self.trim.find_kept(candidates, losses, budget)
        rows = kept[select_highest(losses[kept], round(self.factor * budget), rng)]
        centres = candidates.labelled_embedding
        first = 0 if centres is None or len(centres) == 0 else None
        picks = pick_farthest(candidates.embedding[rows], centres, budget, first)
        return [candidates.ids[row] for row in rows[picks]]
