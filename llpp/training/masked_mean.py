"""The mean of some of the values."""

import torch
from torch import Tensor
from torchmetrics import Metric


class MaskedMean(Metric):
    """Mean of the values that are known, in double precision; NaN without any.

    torchmetrics' own looks for NaN in every batch, for which the host has to wait.
    """

    full_state_update = False
    summed: Tensor
    known: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("summed", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("known", torch.zeros((), dtype=torch.long), "sum")

    def update(self, values: Tensor, known: Tensor) -> None:
        """Add those of (B,) values where `known` (B,) bool says so."""
        self.summed += values.double().where(known, 0.0).sum()
        self.known += known.sum()

    def compute(self) -> Tensor:
        """The mean."""
        return self.summed / self.known
