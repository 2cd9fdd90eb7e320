"""Stacked hourglass network (Newell, Yang & Deng, ECCV 2016).

Every parameter is used: a residual block has a skip convolution only where its width changes, and the last
stack has no merging convolutions. Convolutions that a BatchNorm follows have no bias unless `published_biases`
asks for them, because the normalisation subtracts it again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llpp.backbones.base import Backbone, Chain
from llpp.errors import expect
from llpp.types import Features, Output


class Residual(nn.Module):
    """Pre-activation bottleneck: 1×1, 3×3, 1×1 at half the width, plus the input."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        middle = outputs // 2
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, middle, 1, bias=bias),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, middle, 3, padding=1, bias=bias),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, 1),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h, w)."""
        out: Tensor = self.body(x)
        return out.add_(self.skip(x))  # nobody else has it: a third map would cost memory and its traffic


class Hourglass(nn.Module):
    """Down to 1 / 2^depth of the resolution and up again, with a skip branch at every level."""

    def __init__(self, depth: int, channels: int, bias: bool) -> None:
        super().__init__()
        self.up = Residual(channels, channels, bias)
        self.pool = nn.MaxPool2d(2)
        self.down = Residual(channels, channels, bias)
        self.inner = Hourglass(depth - 1, channels, bias) if depth > 1 else Residual(channels, channels, bias)
        self.out = Residual(channels, channels, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, C, h, w) → the same shape, and the decoder's maps below it from fine to coarse."""
        low = self.down(self.pool(x))
        finer: list[Tensor] = []
        if isinstance(self.inner, Hourglass):
            low, finer = self.inner(low)
        else:
            low = self.inner(low)
        low = self.out(low)
        grown = nn.functional.interpolate(low, scale_factor=2.0, mode="nearest")
        up: Tensor = self.up(x)
        return up.add_(grown), [low, *finer]


class StackedHourglass(Backbone):
    """`stacks` hourglasses of `channels` maps at stride 4; `depth` halvings below that.

    Inputs must be divisible by 4 · 2^depth: 64 as published, 32 with depth 3.
    """

    def __init__(
        self,
        outputs: int,
        stacks: int = 2,
        channels: int = 256,
        depth: int = 4,
        published_biases: bool = False,
    ) -> None:
        super().__init__()
        expect(stacks >= 1, "backbone.stacks", stacks, "1 or more")
        expect(depth >= 1, "backbone.depth", depth, "1 or more")
        expect(channels >= 4 and channels % 4 == 0, "backbone.channels", channels, "a multiple of 4")
        bias = published_biases
        self.heatmap_stride = 4
        self.size_multiple = 4 * 2**depth
        self.feature_channels = {4 * 2**level: channels for level in range(depth + 1)}
        self.penultimate_channels = channels
        quarter, half = channels // 4, channels // 2
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
        self.features = nn.ModuleList(
            Chain(
                Residual(channels, channels, bias),
                nn.Conv2d(channels, channels, 1, bias=bias),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for _ in range(stacks)
        )
        self.heatmaps = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1))
        self.merge_heatmaps = nn.ModuleList(nn.Conv2d(outputs, channels, 1) for _ in range(stacks - 1))

    def list_regions(self) -> Sequence[nn.Module]:
        """See `Backbone.regions`: the stem, and twice as many as there are stacks."""
        return [self.stem, *self.hourglasses, *self.features]

    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W) → heatmaps (B, S, K, H/4, W/4) and the last stack's decoder maps."""
        x = self.stem(image)
        heatmaps: list[Tensor] = []
        for stack, hourglass in enumerate(self.hourglasses):
            decoded, below = hourglass(x)
            penultimate = self.features[stack](decoded)
            heatmaps.append(self.heatmaps[stack](penultimate))
            if stack < len(self.hourglasses) - 1:
                x = self.merge_features[stack](penultimate).add_(x).add_(self.merge_heatmaps[stack](heatmaps[-1]))
        pyramid = dict(zip(self.feature_channels, [decoded, *below], strict=True))
        return Output(torch.stack(heatmaps, dim=1), Features(pyramid, penultimate), self.heatmap_stride)
