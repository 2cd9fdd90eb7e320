"""Margin ranking of loss pairs (Yoo & Kweon, CVPR 2019, Eq. 2)."""

import torch
from torch import Tensor

from llpp.objectives.base import PairObjective, Pairs


class RankingObjective(PairObjective):
    """Hinge max(0, margin - s (p_i - p_j)) with s = sign(l_i - l_j).

    Equal true losses have no order to learn: such a pair adds nothing, where the published implementations add a
    constant (the gradient is zero in both).
    """

    def __init__(self, margin: float = 1.0, pairs: Pairs = "halves") -> None:
        super().__init__(pairs)
        self.margin = margin

    def pair_loss(self, difference: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """See `PairObjective.pair_loss`."""
        order = torch.sign(first - second)
        return torch.relu(self.margin - order * difference) * order.abs()
