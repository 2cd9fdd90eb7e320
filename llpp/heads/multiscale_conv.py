"""Convolutions from the finest map down to the coarsest (Shukla & Ahmed, CVPRW 2021, §4.2)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from llpp.errors import ConfigError
from llpp.heads.base import FeatureSpec, LossHead, average_pool, build_fully_connected, check_strides
from llpp.heads.evidence import Evidence, append_evidence, count_appended
from llpp.types import Features


class AveragePool(nn.Module):
    """The mean over cells as a layer."""

    def forward(self, maps: Tensor) -> Tensor:
        """See `average_pool`."""
        return average_pool(maps)


class MultiscaleConvHead(LossHead):
    """Shrink, add the next level, repeat; reduce the coarsest map to a vector; FC `widths` → 1.

    A step's convolution has kernel = stride = the integer ratio of the two maps' sides; where that misses the next
    side, a second convolution of stride 1 reaches it. `reduction: pool` averages the coarsest map as in the paper,
    `conv` reduces it by one convolution of the map's size (4×4 at 256 pixels) as in the published code.
    `evidence: summary` adds what the heatmaps say to that vector.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        strides: Sequence[int] | None = None,
        widths: Sequence[int] = (128, 64, 32, 16, 8),
        reduction: Literal["pool", "conv"] = "pool",
        evidence: Evidence = "none",
    ) -> None:
        super().__init__()
        if strides is None:
            strides = list(spec.channels)
        self.strides = tuple(sorted(strides))
        check_strides(spec, self.strides)
        if reduction not in ("pool", "conv"):
            raise ConfigError(
                f"head.reduction={reduction!r} is not known; use pool (the paper's) or conv (its code's)"
            )
        self.steps = nn.ModuleList()
        for fine, coarse in pairwise(self.strides):
            self.steps.append(_build_step(spec, fine, coarse))
        coarsest = self.strides[-1]
        channels = spec.channels[coarsest]
        self.reduce: nn.Module = AveragePool()
        if reduction == "conv":
            convolution = nn.Conv2d(channels, channels, spec.get_map_size(coarsest))
            self.reduce = nn.Sequential(convolution, nn.ReLU(inplace=True))
        self.evidence = evidence
        self.fc = build_fully_connected(channels + count_appended(evidence, spec.heatmaps), widths)

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        x = features.pyramid[self.strides[0]]
        for step, stride in zip(self.steps, self.strides[1:], strict=True):
            x = step(x) + features.pyramid[stride]
        vector = append_evidence(self.evidence, self.reduce(x).flatten(1), features)
        predicted: Tensor = self.fc(vector).squeeze(1)
        return predicted


def _build_step(spec: FeatureSpec, fine: int, coarse: int) -> nn.Sequential:
    """Build convolutions from the map at stride `fine` to the side and channels of the one at `coarse`."""
    outputs = spec.channels[coarse]
    fine_side = spec.get_map_size(fine)
    coarse_side = spec.get_map_size(coarse)
    ratio = fine_side // coarse_side
    layers: list[nn.Module] = [
        nn.Conv2d(spec.channels[fine], outputs, ratio, stride=ratio),
        nn.ReLU(inplace=True),
    ]
    excess = fine_side // ratio - coarse_side
    if excess:
        layers += [nn.Conv2d(outputs, outputs, excess + 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
