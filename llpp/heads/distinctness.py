"""How unlike the heatmaps of the joints are, as a predicted loss: a ranking that needs no training."""

import torch
from torch import Tensor, nn

from llpp.heads.base import FeatureSpec, LossHead
from llpp.heads.evidence import check_heatmaps, compute_log_shares, get_heatmaps, measure_distinctness
from llpp.types import Features


class DistinctnessHead(LossHead):
    """Offset - scale · distinctness, see `measure_distinctness`; it never trains the network.

    Only the two numbers are learned, for objectives that compare sizes. The scale is above 0, so they change no rank.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        check_heatmaps(spec.heatmaps, "head=distinctness", "head=gap_multilevel")
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        log_shares = compute_log_shares(get_heatmaps(features).detach())
        return self.offset - self.log_scale.exp() * measure_distinctness(log_shares)
