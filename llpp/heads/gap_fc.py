"""Global average pooling of the penultimate map, then fully connected layers.

The baseline that the LearningLoss++ code runs as "learning loss".
"""

from collections.abc import Sequence

from torch import Tensor

from llpp.heads.base import FeatureSpec, LossHead, average_pool, build_fully_connected
from llpp.types import Features


class GapFCHead(LossHead):
    """Penultimate map → mean over cells → `widths` → 1."""

    def __init__(self, spec: FeatureSpec, widths: Sequence[int] = (128, 64, 32, 16, 8)) -> None:
        super().__init__()
        self.fc = build_fully_connected(spec.penultimate, widths)

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        predicted: Tensor = self.fc(average_pool(features.penultimate)).squeeze(1)
        return predicted
