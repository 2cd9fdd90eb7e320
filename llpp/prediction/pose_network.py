"""A pose network with both of its ends: bytes of crops in; joints, confidences and predicted losses out.

B crops of H × W pixels, K joints.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llpp.backbones.base import Backbone
from llpp.heads.base import LossHead
from llpp.prediction.predictor import CropPredictions
from llpp.tasks.pose.task import PoseTask
from llpp.tasks.views import see_views


class PoseNetwork(nn.Module):
    """Backbone, loss head and decoding as one network for evaluation."""

    def __init__(self, backbone: Backbone, head: LossHead, task: PoseTask) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.task = task
        self.eval()

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, H, W, 3) RGB, uint8, to what `CropPredictions` has."""
        image = self.backbone.normalise(crops.permute(0, 3, 1, 2))
        # In double precision for comparisons; otherwise it is what it was.
        image = image.to(next(self.backbone.parameters()).dtype)
        output = self.backbone(image)
        views = see_views(self.backbone, image, self.task.views)
        joints, heights = self.task.decode(output, views)
        losses: Tensor = self.head(output.features)
        return joints, heights, losses.float()

    @torch.inference_mode()
    def predict(self, crops: NDArray[np.uint8]) -> CropPredictions:
        """Predict crops (B, H, W, 3), RGB, on the CPU."""
        joints, heights, losses = self(torch.from_numpy(crops))
        return CropPredictions(joints.numpy(), heights.numpy(), losses.numpy())
