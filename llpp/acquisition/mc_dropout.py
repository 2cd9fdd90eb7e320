"""Disagreement of a network with itself as it drops units (Monte Carlo dropout: Gal & Ghahramani, ICML 2016)."""

import numpy as np

from llpp.acquisition.base import Acquisition
from llpp.acquisition.trimming import Trim, select_highest_kept
from llpp.backbones.base import Backbone
from llpp.backbones.dropout import find_dropout_layers
from llpp.errors import ConfigError, expect
from llpp.types import Candidates

COLUMN = "dropout_disagreement"


class MCDropoutAcquisition(Acquisition):
    """Label the images about which the network disagrees with itself as it drops units.

    It sees every candidate `passes` times more, with dropout active and all else as in evaluation: scoring takes that
    many times longer. Of poses the score is the mean distance of a joint to its mean over the passes, as a share of
    the crop's side; of classes the mutual information of class and network (BALD, Houlsby et al., 2011). Which units
    an image loses is a function of seed, round, pass and row, and so the same on any number of devices.
    """

    def __init__(self, passes: int = 10, trim: float = 0.0, trim_unfound: bool = False) -> None:
        expect(type(passes) is int and passes >= 2, "acquisition.passes", passes, "a whole number, 2 or more")
        self.dropout_passes = passes
        self.trim = Trim(trim, trim_unfound)
        self.needs = self.trim.needs | {COLUMN}

    def check_backbone(self, backbone: Backbone) -> None:
        """See `Acquisition.check_backbone`: it must have layers that drop units."""
        if not find_dropout_layers(backbone):
            raise ConfigError(
                f"acquisition=mc_dropout needs a backbone that drops units, and {type(backbone).__name__} has no "
                "layer that does; set backbone.dropout=0.2, or choose another acquisition"
            )

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        disagreement = candidates.columns.get(COLUMN)
        if disagreement is None:
            raise ValueError(f"mc_dropout needs candidates with {COLUMN}")
        return select_highest_kept(self.trim, candidates, disagreement, budget, rng)
