"""Convolutions from the finest map down to the coarsest (Shukla & Ahmed, CVPRW 2021, §4.2)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from llpp.errors import ConfigError
from llpp.heads.base import FeatureSpec, LossHead, average_pool, build_fully_connected, check_strides
from llpp.types import Features


class AveragePool(nn.Module):
    """The mean over cells, for a place among other layers."""

    def forward(self, maps: Tensor) -> Tensor:
        """See `pooled`."""
        return average_pool(maps)


class MultiscaleConvHead(LossHead):
    """Shrink, add the next level, repeat; reduce the coarsest map to a vector; FC `widths` → 1.

    A step's convolution has kernel = stride = the whole ratio of the two maps' sides; where that does not land
    on the next side, a second convolution of stride 1 does. `reduction: pool` averages the coarsest map as the
    paper says, `conv` reduces it by one convolution of its own size (4×4 at 256 pixels), as the published code does.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        strides: Sequence[int] | None = None,
        widths: Sequence[int] = (128, 64, 32, 16, 8),
        reduction: Literal["pool", "conv"] = "pool",
    ) -> None:
        super().__init__()
        self.strides = tuple(sorted(spec.channels if strides is None else strides))
        check_strides(spec, self.strides)
        if reduction not in ("pool", "conv"):
            raise ConfigError(
                f"head.reduction={reduction!r} is not known; use pool (the paper's) or conv (its code's)"
            )
        steps = zip(self.strides[:-1], self.strides[1:], strict=True)
        self.steps = nn.ModuleList(_build_step(spec, fine, coarse) for fine, coarse in steps)
        channels, side = spec.channels[self.strides[-1]], spec.get_map_size(self.strides[-1])
        self.reduce: nn.Module = (
            AveragePool()
            if reduction == "pool"
            else nn.Sequential(nn.Conv2d(channels, channels, side), nn.ReLU(inplace=True))
        )
        self.fc = build_fully_connected(channels, widths)

    def forward(self, features: Features) -> Tensor:
        """See `LossHead.forward`."""
        x = features.pyramid[self.strides[0]]
        for step, stride in zip(self.steps, self.strides[1:], strict=True):
            x = step(x) + features.pyramid[stride]
        predicted: Tensor = self.fc(self.reduce(x).flatten(1)).squeeze(1)
        return predicted


def _build_step(spec: FeatureSpec, fine: int, coarse: int) -> nn.Sequential:
    """Convolutions from the map at stride `fine` to the size and width of the one at `coarse`."""
    inputs, outputs = spec.channels[fine], spec.channels[coarse]
    ratio = spec.get_map_size(fine) // spec.get_map_size(coarse)
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, ratio, stride=ratio), nn.ReLU(inplace=True)]
    if rest := spec.get_map_size(fine) // ratio - spec.get_map_size(coarse):
        layers += [nn.Conv2d(outputs, outputs, rest + 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
