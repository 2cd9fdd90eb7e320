"""Disagreement of the predictions that one network makes of a pose."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.backbones.base import Backbone
from llpp.errors import ConfigError
from llpp.types import Candidates

COLUMN = "stack_disagreement"


class EnsembleAcquisition(Acquisition):
    """Label the images about whose joints the stacks of the backbone disagree most; for poses.

    The score is the mean distance of a joint to its mean over the stacks, as a share of the crop's side. It costs
    nothing: a stacked hourglass predicts the pose in each stack. Its members are not independent, as those of an
    ensemble of networks are (query by committee, Seung et al., COLT 1992): a stack sees what the one before has
    predicted, and all are trained together. They agree on mistakes that a later stack has no reason to revise.
    """

    def __init__(self, trim: float = 0.0, trim_unfound: bool = False) -> None:
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {COLUMN}

    def check_backbone(self, backbone: Backbone) -> None:
        """See `Acquisition.check_backbone`: it must have two stacks or more."""
        if backbone.stacks < 2:
            raise ConfigError(
                f"acquisition=ensemble compares the poses of several stacks, and {type(backbone).__name__} has "
                f"{backbone.stacks}; set backbone.stacks=2, or choose another acquisition"
            )

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        disagreement = candidates.columns.get(COLUMN)
        if disagreement is None:
            raise ValueError(f"ensemble needs candidates with {COLUMN}")
        return select_highest_kept(self.trim, candidates, disagreement, budget, rng)
