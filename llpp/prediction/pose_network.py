"""A pose network with both of its ends: bytes of crops in; joints, confidences and what is expected out.

B crops of H × W pixels, K joints.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llpp.backbones.base import Backbone
from llpp.heads.base import LossHead
from llpp.prediction.predictor import CropPredictions
from llpp.reliability.rankers import HEAD_RANKER, LOSS_COLUMN, Ranker
from llpp.tasks.pose.task import PoseTask
from llpp.tasks.views import see_views


class PoseNetwork(nn.Module):
    """Backbone, loss head, decoding and the ranker of failures as one network for evaluation."""

    def __init__(self, backbone: Backbone, head: LossHead, task: PoseTask, ranker: Ranker = HEAD_RANKER) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.task = task
        self.ranker = ranker
        self.eval()

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map (B, H, W, 3) RGB, uint8, to what `CropPredictions` has."""
        image = self.backbone.normalise(crops.permute(0, 3, 1, 2))
        # In double precision for comparisons; otherwise it is what it was.
        image = image.to(next(self.backbone.parameters()).dtype)
        output = self.backbone(image)
        views = see_views(self.backbone, image, self.task.views)
        predictions, heights = self.task.predict_with_heights(output, views)
        losses = self.head(output.features).float()
        scores = self._compute_scores({LOSS_COLUMN: losses, **predictions})
        return predictions["joints"], heights, losses, scores

    def _compute_scores(self, columns: Mapping[str, Tensor]) -> Tensor:
        """What `Ranker.compute_scores` computes, in float32: few runtimes have double precision."""
        scores = torch.full_like(columns[LOSS_COLUMN], self.ranker.offset)
        for term in self.ranker.terms:
            scores = scores + term.weight * (columns[term.column].float() - term.centre)
        return scores

    @torch.inference_mode()
    def predict(self, crops: NDArray[np.uint8]) -> CropPredictions:
        """Predict crops (B, H, W, 3), RGB, on the CPU."""
        joints, heights, losses, scores = self(torch.from_numpy(crops))
        return CropPredictions(joints.numpy(), heights.numpy(), losses.numpy(), scores.numpy())
