"""Views of an image at test time: the image mirrored, turned or scaled, and back to the image's own cells.

B images of C channels, S × S pixels; the maps of a view have cells that cover it, as those of the image cover the
image. Coordinates run from -1 to 1 between the outer edges, x to the right and y down.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from llpp.backbones.base import Backbone
from llpp.types import Output


@dataclass(frozen=True)
class View:
    """An image that is mirrored, then turned and scaled about its centre."""

    mirrored: bool = False
    angle: float = 0.0  # degrees, anticlockwise
    scale: float = 1.0  # size of things in the view / in the image

    def find_in_view(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where points of the image are in the view."""
        cosine, sine = self._turn()
        if self.mirrored:
            x = -x
        return self.scale * (cosine * x + sine * y), self.scale * (cosine * y - sine * x)

    def find_in_image(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where points of the view are in the image."""
        cosine, sine = self._turn()
        column = (cosine * x - sine * y) / self.scale
        row = (sine * x + cosine * y) / self.scale
        return -column if self.mirrored else column, row

    def _turn(self) -> tuple[float, float]:
        angle = math.radians(self.angle)
        return math.cos(angle), math.sin(angle)


MIRRORED = View(mirrored=True)
SIX = (MIRRORED, View(angle=15.0), View(angle=-15.0), View(scale=0.87), View(scale=1.15))
# What `scoring.views` may be: the views besides the image itself.
CHOICES: Mapping[str, tuple[View, ...]] = {"none": (), "flip": (MIRRORED,), "six": SIX}
# By view, the raw output of the network for it, as in `Output.raw`.
Views = Mapping[View, Tensor]
NO_VIEWS: Views = {}


def see_views(
    backbone: Backbone,
    image: Tensor,
    views: Sequence[View],
    evaluate: Callable[[Backbone, Tensor], Output] = Backbone.__call__,
) -> Views:
    """Let a network see views of normalised images (B, 3, S, S), each by a call of `evaluate`.

    The features, which take much memory, are not kept.
    """
    # Training has shown the network black beyond the border of a crop, and nothing else.
    black = backbone.normalise(image.new_zeros((1, 3, 1, 1)))
    raw = {}
    for view in views:
        raw[view] = evaluate(backbone, make_view(image, view, black)).raw
    return raw


def make_view(image: Tensor, view: View, border: Tensor | float = 0.0) -> Tensor:
    """A view of images (B, C, S, S), of the same size; beyond the images it has the value of `border`."""
    if view == MIRRORED:
        return image.flip(-1)
    x, y = _list_centres(image)
    seen = _sample(image - border, *view.find_in_image(x, y), beyond="zeros") + border
    return seen.contiguous(memory_format=torch.channels_last)


def map_back(maps: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """Bring maps of a view (B, K, h, w), h = w, to the cells of the image.

    Returns:
        (B, K, h, w), and (h, w) bool: whether the view shows the centre of a cell.
    """
    if view == MIRRORED:
        return maps.flip(-1), torch.ones(maps.shape[-2:], dtype=torch.bool, device=maps.device)
    x, y = view.find_in_view(*_list_centres(maps))
    return _sample(maps, x, y, beyond="border"), (x.abs() <= 1) & (y.abs() <= 1)


def average_views(own: Tensor, others: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Average maps (B, K, h, w) of an image with those that `map_back` gives of its views.

    In each cell it is the mean over the views that show it, and the image itself.
    """
    total = own
    count: Tensor | int = 1
    for maps, seen in others:
        total = total + maps.where(seen, 0)
        count = count + seen
    return total / count


def _list_centres(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the cells of square maps: x (1, w) and y (h, 1)."""
    side = maps.shape[-1]
    # Mixed precision would round coordinates to a part of a cell.
    dtype = torch.float64 if maps.dtype == torch.float64 else torch.float32
    centres = (2 * torch.arange(side, device=maps.device, dtype=dtype) + 1) / side - 1
    return centres[None, :], centres[:, None]


def _sample(maps: Tensor, x: Tensor, y: Tensor, beyond: str) -> Tensor:
    """Bilinear values of maps (B, C, h, w) at points (h, w); `beyond` is a padding mode of grid_sample."""
    # len() would fix the number of images in a network that is exported.
    grid = torch.stack([x, y], dim=-1)[None].expand(maps.shape[0], -1, -1, -1)
    sampled = functional.grid_sample(maps.to(grid.dtype), grid, padding_mode=beyond, align_corners=False)
    return sampled.to(maps.dtype)
