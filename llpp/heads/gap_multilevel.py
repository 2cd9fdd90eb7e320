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
        self.strides = tuple(sorted(spec.channels) if strides is None else strides)
        check_strides(spec, self.strides)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Linear(spec.channels[s], width), nn.ReLU(inplace=True)) for s in self.strides
        )
        self.out = nn.Linear(width * len(self.strides), 1)

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        means = [average_pool(features.pyramid[s]) for s in self.strides]
        with torch.autocast(means[0].device.type, enabled=False):  # see `FullPrecision`
            parts = [level(mean) for level, mean in zip(self.levels, means, strict=True)]
            predicted: Tensor = self.out(torch.cat(parts, dim=1)).squeeze(1)
        return predicted
