"""What a backbone publishes, so that no width is typed twice."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from llpp.errors import ConfigError
from llpp.types import Output

BYTE = 255.0  # the largest pixel value


class Chain(nn.Sequential):
    """Layers one after the other as one region; torch.compile does not begin in a container of torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        """As its layers do."""
        for layer in self:
            x = layer(x)
        return x


class Backbone(nn.Module, ABC):
    """Images → the output that a task interprets, and the features that loss heads read."""

    feature_channels: Mapping[int, int]  # stride (input pixels per cell) → channels of that pyramid map
    penultimate_channels: int
    heatmap_stride: int | None = None  # input pixels per cell of its heatmaps; None: it gives one vector per image
    stacks: int = 1  # poses that it predicts one after the other, each from the one before; `raw` holds all of them
    size_multiple: int  # the input's sides must be multiples of this
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of RGB in 0 … 1, subtracted from the input
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)  # that it is divided by

    @abstractmethod
    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W) normalised image → raw output (B, outputs, …) and features."""

    def list_regions(self) -> Sequence[nn.Module]:
        """Parts that are compiled one by one where `compile` is regional; alike ones share what was compiled.

        None of them is a container of torch's own: see `Chain`.
        """
        return [self]

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in 0 … 255, bytes or floats → the input of `forward`, float32."""
        if len({*self.mean}) == len({*self.std}) == 1:
            # One pass that makes floats of bytes, one in place; equal channels need no broadcasting.
            return (pixels / (BYTE * self.std[0])).sub_(self.mean[0] / self.std[0])
        scale = [BYTE * std for std in self.std]
        shift = [mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        channels = pixels.float().unbind(1)
        normalised = [channels[c] / scale[c] - shift[c] for c in range(3)]
        return torch.stack(normalised, dim=1).contiguous(memory_format=torch.channels_last)

    def check_size(self, size: int) -> None:
        """Raise ConfigError unless images of `size` × `size` pixels fit."""
        if size <= 0 or size % self.size_multiple:
            lower = max(1, size // self.size_multiple) * self.size_multiple
            raise ConfigError(
                f"crop.size={size} does not fit the backbone, which halves its maps down to stride "
                f"{self.size_multiple}; use a multiple of {self.size_multiple}, "
                f"such as {lower} or {lower + self.size_multiple}"
            )
