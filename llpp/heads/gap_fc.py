"""Global average pooling of the penultimate map, then fully connected layers.

The baseline that the LearningLoss++ code runs as "learning loss".
"""

from collections.abc import Sequence

from torch import Tensor

from llpp.heads.base import FeatureSpec, LossHead, average_pool, build_fully_connected
from llpp.heads.evidence import Evidence, append_evidence, count_appended
from llpp.types import Features


class GapFCHead(LossHead):
    """Penultimate map → mean over cells → `widths` → 1; `evidence: summary` adds what the heatmaps say."""

    def __init__(
        self,
        spec: FeatureSpec,
        widths: Sequence[int] = (128, 64, 32, 16, 8),
        evidence: Evidence = "none",
    ) -> None:
        super().__init__()
        self.evidence = evidence
        self.fc = build_fully_connected(spec.penultimate + count_appended(evidence, spec.heatmaps), widths)

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        vector = append_evidence(self.evidence, average_pool(features.penultimate), features)
        predicted: Tensor = self.fc(vector).squeeze(1)
        return predicted
