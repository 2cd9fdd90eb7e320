"""Joints ↔ Gaussian heatmaps, for a batch at once.

Cell i covers input pixels stride·i … stride·(i + 1) - 1, so its centre is pixel stride·(i + 1/2) - 1/2. Encoding
samples the Gaussian at cell centres around the sub-pixel joint; decoding inverts exactly that.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llpp.setting_rules import check_setting


@dataclass(frozen=True)
class HeatmapCodec:
    """Gaussian targets with spread `sigma` and maximum `peak`, and their inverse."""

    sigma: float = 1.5  # cells
    peak: float = 1.0  # value at a joint on a cell's centre
    stride: int = 4  # input pixels per cell

    def __post_init__(self) -> None:
        check_setting("task.heatmap.sigma", self.sigma)
        check_setting("task.heatmap.peak", self.peak)

    def to_cells(self, joints: Tensor) -> Tensor:
        """(..., 2) input pixels → cells."""
        return (joints + 0.5) / self.stride - 0.5

    def to_pixels(self, cells: Tensor) -> Tensor:
        """(..., 2) cells → input pixels."""
        return (cells + 0.5) * self.stride - 0.5

    def has_target(self, joints: Tensor, visible: Tensor, shape: tuple[int, int]) -> Tensor:
        """(B, K) bool: labelled and on the map; only these joints have a target."""
        x, y = self.to_cells(joints).unbind(-1)
        inside = (x >= -0.5) & (x <= shape[1] - 0.5) & (y >= -0.5) & (y <= shape[0] - 0.5)
        return inside & (visible > 0)

    def encode(self, joints: Tensor, visible: Tensor, shape: tuple[int, int]) -> Tensor:
        """Targets for (B, K, 2) joints in input pixels.

        Returns:
            (B, K, h, w) with a Gaussian for every joint that has a target and zeros for the others.
        """
        height, width = shape
        has_target = self.has_target(joints, visible, shape)
        cells = torch.where(has_target[..., None], self.to_cells(joints), torch.zeros_like(joints))

        def sample_gaussian(centre: Tensor, length: int) -> Tensor:
            steps = torch.arange(length, device=joints.device, dtype=joints.dtype)
            return torch.exp(-((steps - centre[..., None]) ** 2) / (2 * self.sigma**2))

        columns, rows = sample_gaussian(cells[..., 0], width), sample_gaussian(cells[..., 1], height)
        rows = rows * (has_target * self.peak)[..., None].to(rows.dtype)
        return rows[..., :, None] * columns[..., None, :]

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Joints of (B, K, h, w) heatmaps with h, w >= 3.

        The maximum is refined on each axis by the parabola through three log-values, which is exact for a
        Gaussian; at the border the three cells are moved inside the map.

        Returns:
            (B, K, 2) joints in input pixels and (B, K) the height of each maximum.
        """
        maps = heatmaps.detach().float()
        height, width = maps.shape[-2:]
        score, index = maps.flatten(-2).max(dim=-1)
        best = torch.stack([index % width, index // width], dim=-1)
        centre = torch.stack([best[..., 0].clamp(1, width - 2), best[..., 1].clamp(1, height - 2)], dim=-1)
        x_offset = _find_vertex_offset(maps, score, centre[..., 0], best[..., 1], horizontal=True)
        y_offset = _find_vertex_offset(maps, score, best[..., 0], centre[..., 1], horizontal=False)
        refined = centre + torch.stack([x_offset, y_offset], dim=-1)
        refined = refined.clamp(min=best - 0.5, max=best + 0.5)  # a nearer cell would be higher otherwise
        return self.to_pixels(refined), score


def _find_vertex_offset(maps: Tensor, score: Tensor, x: Tensor, y: Tensor, horizontal: bool) -> Tensor:
    """Offset from cell (x, y) to the vertex of the log-parabola through its neighbours on one axis: (B, K)."""
    width = maps.shape[-1]
    flat, centre = maps.flatten(-2), y * width + x
    step = 1 if horizontal else width
    around = torch.stack([centre - step, centre, centre + step], dim=-1)
    values = flat.gather(-1, around)
    floor = (score.clamp(min=1e-12) * 1e-6)[..., None]
    low, middle, high = torch.log(values.clamp(min=floor)).unbind(-1)
    curvature = low - 2 * middle + high
    safe = torch.where(curvature < -1e-9, curvature, torch.ones_like(curvature))
    return torch.where(curvature < -1e-9, 0.5 * (low - high) / safe, torch.zeros_like(low))
