"""Stacked hourglass network (Newell, Yang & Deng, ECCV 2016).

Every parameter is used: a residual block has a skip convolution only where its width changes, and the last
stack has no merging convolutions. Convolutions that a BatchNorm follows have no bias unless `published_biases`
asks for them, because the normalisation would subtract it again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llpp.backbones.base import Backbone, Chain
from llpp.backbones.pointwise import PointwiseConv
from llpp.errors import expect
from llpp.setting_rules import check_setting
from llpp.types import Features, Output


class Residual(nn.Module):
    """Pre-activation bottleneck: 1×1, 3×3, 1×1 at half the width, plus the input."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        middle = outputs // 2
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            PointwiseConv(inputs, middle, bias),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, middle, 3, padding=1, bias=bias),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            PointwiseConv(middle, outputs),
        )
        self.skip = nn.Identity() if inputs == outputs else PointwiseConv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, outputs, h, w)."""
        out: Tensor = self.body(x)
        # Nothing else refers to `out`; adding in place saves a third map and its memory traffic.
        return out.add_(self.skip(x))


class Hourglass(nn.Module):
    """Down to 1 / 2^depth of the resolution and up again, with a skip branch at every level."""

    def __init__(self, depth: int, channels: int, bias: bool) -> None:
        super().__init__()
        self.up = Residual(channels, channels, bias)
        self.pool = nn.MaxPool2d(2)
        self.down = Residual(channels, channels, bias)
        self.inner: Hourglass | Residual
        if depth > 1:
            self.inner = Hourglass(depth - 1, channels, bias)
        else:
            self.inner = Residual(channels, channels, bias)
        self.out = Residual(channels, channels, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map (B, C, h, w) to the same shape; also return the decoder's maps below it, from fine to coarse."""
        low = self.down(self.pool(x))
        coarser: list[Tensor] = []
        if isinstance(self.inner, Hourglass):
            low, coarser = self.inner(low)
        else:
            low = self.inner(low)
        low = self.out(low)
        up: Tensor = self.up(x)
        return up.add_(_enlarge(low)), [low, *coarser]


def _enlarge(x: Tensor) -> Tensor:
    """(B, C, h, w) → (B, C, 2h, 2w), each cell four times, in the same precision."""
    # On GPUs autocast would have float32 here: twice the bytes, in this map and in the addition, of the same values.
    with torch.autocast(x.device.type, enabled=False):
        return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _build_feature_layers(channels: int, bias: bool) -> Chain:
    """Build the layers between a stack's hourglass and its heatmaps."""
    return Chain(
        Residual(channels, channels, bias),
        PointwiseConv(channels, channels, bias),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class StackedHourglass(Backbone):
    """`stacks` hourglasses of `channels` maps at stride 4, with `depth` halvings below that.

    The input's sides must be multiples of 4 · 2^depth: 64 as published, 32 with depth 3. `dropout` is the share of
    the penultimate maps that each stack's heatmaps do without in training, whole maps at a time (SpatialDropout,
    Tompson et al., CVPR 2015); features are those without it.
    """

    def __init__(
        self,
        outputs: int,
        stacks: int = 2,
        channels: int = 256,
        depth: int = 4,
        published_biases: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        expect(stacks >= 1, "backbone.stacks", stacks, "1 or more")
        expect(depth >= 1, "backbone.depth", depth, "1 or more")
        expect(channels >= 4 and channels % 4 == 0, "backbone.channels", channels, "a multiple of 4")
        check_setting("backbone.dropout", dropout)
        bias = published_biases
        self.stacks = stacks
        self.heatmap_stride = 4
        self.size_multiple = 4 * 2**depth
        self.feature_channels = {4 * 2**level: channels for level in range(depth + 1)}
        self.penultimate_channels = channels
        quarter = channels // 4
        half = channels // 2
        self.stem = Chain(
            nn.Conv2d(3, quarter, 7, stride=2, padding=3, bias=bias),
            nn.BatchNorm2d(quarter),
            nn.ReLU(inplace=True),
            Residual(quarter, half, bias),
            nn.MaxPool2d(2),
            Residual(half, half, bias),
            Residual(half, channels, bias),
        )
        self.hourglasses = nn.ModuleList(Hourglass(depth, channels, bias) for _ in range(stacks))
        self.features = nn.ModuleList(_build_feature_layers(channels, bias) for _ in range(stacks))
        self.heatmaps = nn.ModuleList(PointwiseConv(channels, outputs) for _ in range(stacks))
        # Without dropout the layers are those of networks that were made before there was any.
        self.drop = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.merge_features = nn.ModuleList(PointwiseConv(channels, channels) for _ in range(stacks - 1))
        self.merge_heatmaps = nn.ModuleList(PointwiseConv(outputs, channels) for _ in range(stacks - 1))

    def list_regions(self) -> Sequence[nn.Module]:
        """See `Backbone.list_regions`: the stem, and two regions per stack."""
        return [self.stem, *self.hourglasses, *self.features]

    def forward(self, image: Tensor) -> Output:
        """Map (B, 3, H, W) to heatmaps (B, S, K, H/4, W/4) and the last stack's decoder maps."""
        x = self.stem(image)
        heatmaps: list[Tensor] = []
        for stack, hourglass in enumerate(self.hourglasses):
            decoded, below = hourglass(x)
            penultimate = self.features[stack](decoded)
            heatmaps.append(self.heatmaps[stack](self.drop(penultimate)))
            if stack < len(self.hourglasses) - 1:
                merged = self.merge_features[stack](penultimate)
                x = merged.add_(x).add_(self.merge_heatmaps[stack](heatmaps[-1]))
        pyramid = dict(zip(self.feature_channels, [decoded, *below], strict=True))
        features = Features(pyramid, penultimate, heatmaps[-1])
        return Output(torch.stack(heatmaps, dim=1), features, self.heatmap_stride)
