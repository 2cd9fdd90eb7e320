"""What a backbone publishes, so that no width is typed twice."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from llpp.errors import ConfigError
from llpp.types import PoseOutput


class Chain(nn.Sequential):
    """Layers one after the other as one region; torch.compile does not begin in a container of torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        """As its layers do."""
        for layer in self:
            x = layer(x)
        return x


class Backbone(nn.Module, ABC):
    """Images → heatmaps and the features that loss heads read."""

    feature_channels: Mapping[int, int]  # stride (input pixels per cell) → channels of that pyramid map
    penultimate_channels: int
    heatmap_stride: int  # input pixels per heatmap cell
    size_multiple: int  # the input's sides must be multiples of this

    @abstractmethod
    def forward(self, image: Tensor) -> PoseOutput:
        """(B, 3, H, W) normalised image → raw heatmaps of every stack and the last stack's features."""

    def list_regions(self) -> Sequence[nn.Module]:
        """Parts that are compiled one by one where `compile` is regional; alike ones share what was compiled.

        None of them is a container of torch's own: see `Chain`.
        """
        return [self]

    def check_size(self, size: int) -> None:
        """Raise ConfigError unless images of `size` × `size` pixels fit."""
        if size <= 0 or size % self.size_multiple:
            lower = max(1, size // self.size_multiple) * self.size_multiple
            raise ConfigError(
                f"crop.size={size} does not fit the backbone, which halves its maps down to stride "
                f"{self.size_multiple}; use a multiple of {self.size_multiple}, "
                f"such as {lower} or {lower + self.size_multiple}"
            )
