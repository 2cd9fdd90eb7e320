"""The contract of loss heads: features of the network → one predicted loss per image."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llpp.errors import ConfigError
from llpp.types import Features


@dataclass(frozen=True)
class FeatureSpec:
    """The features that the backbone offers at the crop size of the run."""

    channels: Mapping[int, int]  # stride → channels
    penultimate: int  # channels of the penultimate map
    input_size: int  # side of the input, pixels
    heatmaps: int = 0  # number of the heatmaps, one per joint; 0: the backbone gives none

    def get_map_size(self, stride: int) -> int:
        """Return the side of the pyramid map at `stride`, in cells."""
        return self.input_size // stride


class LossHead(nn.Module, ABC):
    """Predicts how wrong the network's output will be.

    It works at B = 1, and has no BatchNorm: a score must not depend on the other images of its batch.
    """

    # Whether it learns from images of which half are turned by quarters, as the network evaluates them, and not from
    # those that the network learns from. It then never trains the network.
    learns_from_turned: bool = False

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Map features to (B,) predicted losses; higher means that a worse output is expected."""


def check_strides(spec: FeatureSpec, strides: Sequence[int]) -> None:
    """Raise ConfigError unless the backbone has all `strides`."""
    missing = [stride for stride in strides if stride not in spec.channels]
    if missing:
        raise ConfigError(f"head wants features at strides {missing}; this backbone offers {sorted(spec.channels)}")


def average_pool(maps: Tensor) -> Tensor:
    """Average (B, C, h, w) maps of any precision over their cells → (B, C), in float32 at least."""
    dtype = torch.promote_types(maps.dtype, torch.float32)
    if maps.dtype != dtype and maps.device.type == "cpu":
        # A mean in another type first writes a converted copy of the whole map, which takes six times longer.
        kernel_size = (math.gcd(maps.shape[2], 8), math.gcd(maps.shape[3], 8))
        maps = nn.functional.avg_pool2d(maps, kernel_size)
    return maps.mean(dim=(2, 3), dtype=dtype)


class FullPrecision(nn.Sequential):
    """Layers that autocast leaves alone: predicted losses of eight significant bits would tie and change ranks."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in order."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            for layer in self:
                x = layer(x)
        return x


def build_fully_connected(inputs: int, widths: Sequence[int]) -> FullPrecision:
    """Build linear + leaky ReLU per width, then one linear output without activation; (B, inputs) → (B, 1).

    The papers use plain ReLU, with which a tail of 16 and 8 units sometimes dies: the head then predicts the same
    constant for every image, and no error is raised. The small slope below zero keeps the gradient.
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.LeakyReLU(0.1, inplace=True)]
        inputs = width
    return FullPrecision(*layers, nn.Linear(inputs, 1))
