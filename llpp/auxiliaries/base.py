"""The contract of auxiliaries: what else is learned from the features, for columns that acquisitions read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from llpp.errors import expect
from llpp.setting_rules import is_number
from llpp.types import Batch, Features


class Auxiliary(nn.Module, ABC):
    """Learns in the steps of the network, and gives columns in scoring passes.

    It works at B = 1, and has no BatchNorm: a column must not depend on the other images of its batch.
    """

    columns: frozenset[str] = frozenset()  # names of what `compute_columns` gives

    def __init__(self, weight: float, trains_backbone: bool) -> None:
        super().__init__()
        expect(is_number(weight) and weight >= 0, "auxiliary.weight", weight, "a number, 0 or more")
        expect(isinstance(trains_backbone, bool), "auxiliary.trains_backbone", trains_backbone, "true or false")
        self.weight = weight  # of its loss
        self.trains_backbone = trains_backbone  # whether its gradient reaches the network

    @abstractmethod
    def compute_loss(self, features: Features, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; a mean over its images, so that ranks can average theirs."""

    @abstractmethod
    def compute_columns(self, features: Features, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, …) by the names of `columns`, from what the task has predicted."""
