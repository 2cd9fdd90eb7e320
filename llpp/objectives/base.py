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
    """Training loss of the head. Knows nothing of ranks; finite for any B, ties and zeros."""

    @abstractmethod
    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Compare (B,) predicted with (B,) non-negative true losses → scalar.

        The scalar is 0 with zero gradient where no two images can be compared.
        """


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
        predicted = predicted.float()
        target = target.detach().float()
        if len(predicted) < 2:
            # Zero, but part of the graph, so that backward works.
            return predicted.sum() * 0.0
        first, second = self._make_pairs(len(predicted), predicted.device)
        difference = predicted[first] - predicted[second]
        return self.pair_loss(difference, target[first], target[second]).mean()

    @abstractmethod
    def pair_loss(self, difference: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Compare the predicted difference p_i - p_j (P,) with the true losses l_i, l_j (P,) → (P,)."""

    def _make_pairs(self, batch: int, device: torch.device) -> tuple[Tensor | slice, Tensor | slice]:
        """Return the indices i and j of all pairs."""
        if self.pairs == "all":
            first, second = torch.triu_indices(batch, batch, offset=1, device=device)
            return first, second
        half = batch // 2
        return slice(0, half), slice(half, 2 * half)
