"""Global average pooling of every level (Yoo & Kweon, CVPR 2019, §3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llpp.heads.base import FeatureSpec, LossHead, average_pool, check_strides
from llpp.types import Features


class GapMultilevelHead(LossHead):
    """Each level → mean over cells → FC `width` + ReLU; all concatenated → 1.

    `strides` None takes every level that the backbone offers.
    """

    def __init__(self, spec: FeatureSpec, width: int = 128, strides: Sequence[int] | None = None) -> None:
        super().__init__()
        if strides is None:
            strides = sorted(spec.channels)
        check_strides(spec, strides)
        self.strides = tuple(strides)
        self.levels = nn.ModuleList()
        for stride in self.strides:
            level = nn.Sequential(nn.Linear(spec.channels[stride], width), nn.ReLU(inplace=True))
            self.levels.append(level)
        self.out = nn.Linear(width * len(self.strides), 1)

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        means = [average_pool(features.pyramid[stride]) for stride in self.strides]
        # In full precision, for the reason that `FullPrecision` gives.
        with torch.autocast(means[0].device.type, enabled=False):
            parts = [level(mean) for level, mean in zip(self.levels, means, strict=True)]
            predicted: Tensor = self.out(torch.cat(parts, dim=1)).squeeze(1)
        return predicted
