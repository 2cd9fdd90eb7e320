"""ResNet-18 with the stem for 32-pixel images (He et al., CVPR 2016), as Yoo & Kweon (CVPR 2019, §4.1) use it.

The stem is one 3 × 3 convolution of stride 1 without pooling. Loss heads get the maps after each of the four groups
of blocks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llpp.backbones.base import Backbone, Chain
from llpp.errors import expect
from llpp.setting_rules import check_setting
from llpp.types import Features, Output

BLOCKS_PER_GROUP = 2
GROUPS = 4


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with BatchNorm, plus the input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h / stride, w / stride)."""
        out: Tensor = self.body(x)
        return torch.relu(out + self.skip(x))


class ResNet18(Backbone):
    """Images → one logit per class.

    Args:
        outputs: number of classes.
        width: channels of the first group; 64 as published, which gives 11.17 M parameters for ten classes.
        mean: of RGB in 0 … 1, subtracted from the input.
        std: that it is divided by.
        dropout: share of the averaged penultimate maps that the classifier does without in training.
    """

    def __init__(
        self,
        outputs: int,
        width: int = 64,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        expect(type(width) is int and width >= 1, "backbone.width", width, "a number of channels, 1 or more")
        check_setting("backbone.dropout", dropout)
        for name, values in (("mean", mean), ("std", std)):
            fits = len(values) == 3 and (name == "mean" or min(values) > 0)
            expect(fits, f"backbone.{name}", list(values), "three numbers, for red, green and blue")
        self.mean = (mean[0], mean[1], mean[2])
        self.std = (std[0], std[1], std[2])
        widths = [width * 2**level for level in range(GROUPS)]
        strides = [2**level for level in range(GROUPS)]
        self.feature_channels = dict(zip(strides, widths, strict=True))
        self.penultimate_channels = widths[-1]
        self.size_multiple = strides[-1]
        self.stem = Chain(
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.groups = nn.ModuleList()
        inputs = width
        for level, channels in enumerate(widths):
            stride = 1 if level == 0 else 2
            first = BasicBlock(inputs, channels, stride)
            others = [BasicBlock(channels, channels, 1) for _ in range(BLOCKS_PER_GROUP - 1)]
            self.groups.append(Chain(first, *others))
            inputs = channels
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(inputs, outputs)

    def list_regions(self) -> Sequence[nn.Module]:
        """See `Backbone.list_regions`: the stem and the groups."""
        return [self.stem, *self.groups]

    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W) → logits (B, classes) and the maps of all groups."""
        x = self.stem(image)
        maps = []
        for group in self.groups:
            x = group(x)
            maps.append(x)
        pyramid = dict(zip(self.feature_channels, maps, strict=True))
        logits: Tensor = self.classifier(self.drop(x.mean(dim=(2, 3))))
        return Output(logits, Features(pyramid, penultimate=x))
