"""The contract of objectives, and the pairs that two of them compare.

B images with predicted losses p and true (detached) losses l; a pair is (i, j).
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from llpp.errors import ConfigError

Pairs = Literal["halves", "all"]


class Objective(nn.Module, ABC):
    """Training loss of the head. Never sees a rank; finite for any B, ties and zeros."""

    @abstractmethod
    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """(B,) predicted and (B,) non-negative true losses → scalar; 0 with zero gradient when nothing compares."""


class PairObjective(Objective):
    """Mean of a loss over pairs of images.

    `halves` pairs i with i + B // 2 as both papers do (an odd last image is left out), `all` takes each of the
    B (B - 1) / 2 pairs.
    """

    def __init__(self, pairs: Pairs = "halves") -> None:
        super().__init__()
        if pairs not in ("halves", "all"):
            raise ConfigError(f"objective.pairs={pairs!r} is not known; use halves (the papers') or all")
        self.pairs = pairs

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """See `Objective.forward`."""
        predicted, target = predicted.float(), target.detach().float()
        if len(predicted) < 2:
            return predicted.sum() * 0.0
        first, second = self._make_pairs(len(predicted), predicted.device)
        return self.pair_loss(predicted[first] - predicted[second], target[first], target[second]).mean()

    @abstractmethod
    def pair_loss(self, difference: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Predicted difference p_i - p_j (P,) and true losses l_i, l_j (P,) → (P,)."""

    def _make_pairs(self, batch: int, device: torch.device) -> tuple[Tensor | slice, Tensor | slice]:
        if self.pairs == "all":
            first, second = torch.triu_indices(batch, batch, offset=1, device=device)
            return first, second
        return slice(0, batch // 2), slice(batch // 2, batch // 2 * 2)
