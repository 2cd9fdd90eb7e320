"""Divergence between true and predicted shares of a pair's loss (Shukla & Ahmed, CVPRW 2021, Eq. 3)."""

import torch
from torch import Tensor
from torch.nn import functional

from llpp.objectives.base import PairObjective, Pairs


class KLObjective(PairObjective):
    """KL(t ‖ q) with t = l_i / (l_i + l_j) and q = softmax_i(p_i, p_j) = sigmoid(p_i - p_j).

    Written as binary cross-entropy with logits minus the entropy of t, it is finite for any input; its gradient
    with respect to p_i is q - t. At the optimum p is ln l plus a constant. Two losses of zero are equal: t = 1/2.
    """

    def __init__(self, pairs: Pairs = "halves") -> None:
        super().__init__(pairs)

    def pair_loss(self, difference: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """See `PairObjective.pair_loss`."""
        total = first + second
        positive = total > 0
        # Where both losses are zero, dividing by 1 avoids a NaN.
        divisor = total.where(positive, torch.ones_like(total))
        share = torch.where(positive, first / divisor, 0.5)
        entropy = -torch.xlogy(share, share) - torch.xlogy(1 - share, 1 - share)
        return functional.binary_cross_entropy_with_logits(difference, share, reduction="none") - entropy
