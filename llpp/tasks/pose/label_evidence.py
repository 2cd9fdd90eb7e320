"""What heatmaps say about the labels of their images: how likely each is, as it is and as it may have been meant.

B images, K joints, h × w heatmap cells. Likelihoods are natural logarithms of shares of a map, so that they add up
over joints. A small part of every map is spread evenly over its cells: without it, a single joint that a network
places wrongly with certainty would outweigh all the others.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from llpp.tasks.pose.heatmaps import HeatmapCodec

EVEN_PART = 0.02  # of a map, spread evenly over its cells
SHIFTS = 33  # tried along each axis
SHIFT_RANGE = 0.5  # of the map's side, in both directions


def compute_label_evidence(
    heatmaps: Tensor, codec: HeatmapCodec, joints: Tensor, visible: Tensor, flip_order: Sequence[int]
) -> dict[str, Tensor]:
    """Compare the maps of (B, K, h, w), 0 or more, with labels (B, K, 2) in crop pixels, where visible (B, K).

    Returns:
        `label_fit` (B, K): log share of each joint's map at its label, NaN where it is not labelled.
        `partner_fit` (B, K): the same at the label of its left or right partner, NaN where either is not labelled.
        `shift_fit` (B,): the sum of `label_fit` if all labels are moved together in the best way.
        `even_fit` (B,): log share of a map that is the same everywhere.
    """
    height, width = heatmaps.shape[-2:]
    shares = compute_log_shares(heatmaps)
    labelled = visible > 0
    cells = codec.to_cells(joints.float().where(labelled[..., None], torch.zeros(())))
    order = list(flip_order)
    both = labelled & labelled[:, order]
    is_paired = torch.tensor([partner != own for own, partner in enumerate(order)], device=joints.device)
    fit = read_at(shares, cells[:, :, None])[..., 0]
    partner_fit = read_at(shares, cells[:, order][:, :, None])[..., 0]
    return {
        "label_fit": fit.where(labelled, torch.nan),
        "partner_fit": partner_fit.where(both & is_paired, torch.nan),
        "shift_fit": _find_best_shift(shares, cells, labelled),
        "even_fit": fit.new_full((len(fit),), -math.log(height * width)),
    }


def compute_log_shares(heatmaps: Tensor) -> Tensor:
    """Log shares of every cell in its map, with the part that is spread evenly: same shape."""
    flat = heatmaps.float().clamp(min=0).flatten(2)
    shares = flat / flat.sum(dim=2, keepdim=True).clamp(min=1e-12)
    mixed = (1 - EVEN_PART) * shares + EVEN_PART / shares.shape[2]
    return mixed.log().reshape(heatmaps.shape)


def read_at(shares: Tensor, cells: Tensor) -> Tensor:
    """Log shares of maps (B, K, h, w) at points (B, K, P, 2) in cells, between cells by interpolation: (B, K, P).

    A point beyond the map has what an empty cell has.
    """
    batch, joints, height, width = shares.shape
    last = torch.tensor([width - 1, height - 1], device=cells.device, dtype=cells.dtype)
    grid = (2 * cells / last - 1).reshape(batch * joints, 1, -1, 2)
    maps = shares.reshape(batch * joints, 1, height, width)
    values = functional.grid_sample(maps, grid, padding_mode="border", align_corners=True)
    x, y = cells.unbind(-1)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return values.reshape(x.shape).where(inside, math.log(EVEN_PART / (height * width)))


def _find_best_shift(shares: Tensor, cells: Tensor, labelled: Tensor) -> Tensor:
    """The largest sum over labelled joints, of all shifts of a regular grid: (B,)."""
    height, width = shares.shape[-2:]
    steps = torch.linspace(-SHIFT_RANGE, SHIFT_RANGE, SHIFTS, device=cells.device)
    y, x = torch.meshgrid(steps * height, steps * width, indexing="ij")
    shifts = torch.stack([x, y], dim=-1).reshape(-1, 2)
    fit = read_at(shares, cells[:, :, None] + shifts)
    return (fit * labelled[..., None]).sum(dim=1).amax(dim=1)
