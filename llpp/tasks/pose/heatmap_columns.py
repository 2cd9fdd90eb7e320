"""What heatmaps say about how sure a network is of a pose: one number per image.

B images, K joints, h × w cells. Maps are those that joints are decoded from: heights, or shares of cells that add up
to 1. A map's *full height* is the maximum that the network is trained to give where it is sure.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

PUBLISHED_SIDE = 64  # cells of the maps that the published distances between peaks are about
PUBLISHED_PEAK = 30.0  # full height of the published maps, whose values the softmax is over
FOUND = 0.25  # share of the full height at which a maximum counts as a joint: 7.5 of 30 in the published code
TOP_PEAKS = 5


def compute_heatmap_entropy(maps: Tensor) -> Tensor:
    """Mean over joints of the entropy of each map as shares of its cells, in nats: (B, K, h, w) → (B,).

    Values below 0 count as 0. A map without any positive value says nothing: its entropy is that of equal shares.
    """
    flat = maps.flatten(2).clamp(min=0)
    total = flat.sum(dim=2, keepdim=True)
    equal = 1 / flat.shape[2]
    shares = torch.where(total > 0, flat / total.clamp(min=1e-30), torch.full_like(flat, equal))
    entropy: Tensor = torch.special.entr(shares).sum(dim=2)
    return entropy.mean(dim=1)


def count_found_joints(heights: Tensor, full_height: float) -> Tensor:
    """How many joints have a maximum of a quarter of the full height or more: (B, K) → (B,)."""
    return (heights >= FOUND * full_height).sum(dim=1).float()


def compute_joint_spread(joints: Tensor) -> Tensor:
    """How far M predictions of the same joints are apart: (M, B, K, 2) → (B,), in the unit of the joints.

    The mean, over joints and predictions, of the distance to the mean of the predictions.
    """
    distances = torch.linalg.vector_norm(joints - joints.mean(dim=0), dim=3)
    spread: Tensor = distances.mean(dim=(0, 2))
    return spread


def compute_entropy_of_found_peaks(maps: Tensor, full_height: float) -> Tensor:
    """Multi-peak entropy as in the code published with LearningLoss++: (B, K, h, w) → (B,).

    Local maxima 7 cells apart or more, on maps of 64 cells, of a quarter of the full height or more; the entropy of
    the softmax of their heights, on a scale on which the full height is 30; mean over joints. A joint without such a
    peak counts as 0, as does one with a single peak. Unlike there, maxima near the border count.
    """
    heights = maps * (PUBLISHED_PEAK / full_height)
    peaks = find_peaks(heights, _scale_distance(7, maps)) & (heights >= FOUND * PUBLISHED_PEAK)
    return _compute_peak_entropy(heights, peaks)


def compute_entropy_of_top_peaks(maps: Tensor, full_height: float) -> Tensor:
    """Multi-peak entropy as in the code published with EGL++: (B, K, h, w) → (B,).

    The five highest local maxima 5 cells apart or more, on maps of 64 cells, however low they are; otherwise as
    `compute_entropy_of_found_peaks`. A joint that is not found has some low maxima that are much alike, and counts as
    up to ln 5: the score is largely the number of joints that are not found.
    """
    heights = maps * (PUBLISHED_PEAK / full_height)
    peaks = find_peaks(heights, _scale_distance(5, maps))
    candidates = torch.where(peaks, heights, -torch.inf).flatten(2)
    places = candidates.topk(min(TOP_PEAKS, candidates.shape[2]), dim=2).indices
    highest = torch.zeros_like(candidates, dtype=torch.bool).scatter(2, places, True).reshape(peaks.shape)
    return _compute_peak_entropy(heights, peaks & highest)


def find_peaks(maps: Tensor, distance: int) -> Tensor:
    """Which cells have no higher one within `distance` cells on either axis: (B, K, h, w) → bool.

    Of equal ones nearby a single cell is a peak: with numbers of 16 bits, a maximum often equals a cell next to it.
    """
    is_highest = maps == _find_highest_nearby(maps, distance)
    height, width = maps.shape[-2:]
    # In this order (Knuth's multiplicative hashing), of a large flat part some cells stay, far from each other.
    cells = torch.arange(height * width, device=maps.device)
    order = (cells * 40503 % 65536).reshape(height, width).float()
    contenders = torch.where(is_highest, order, -1.0)
    return is_highest & (contenders == _find_highest_nearby(contenders, distance))


def _find_highest_nearby(maps: Tensor, distance: int) -> Tensor:
    """The highest value within `distance` cells of each, on either axis: (B, K, h, w) → the same shape."""
    return functional.max_pool2d(maps, 2 * distance + 1, stride=1, padding=distance)


def _scale_distance(distance: int, maps: Tensor) -> int:
    """A distance on maps of 64 cells → the same share of these maps' side, at least one cell."""
    return max(1, math.floor(distance * maps.shape[-1] / PUBLISHED_SIDE + 0.5))


def _compute_peak_entropy(heights: Tensor, peaks: Tensor) -> Tensor:
    """Mean over joints of the entropy of the softmax over the peaks; 0 for a joint without any."""
    logits = torch.where(peaks, heights, -torch.inf).flatten(2)
    found = peaks.flatten(2).any(dim=2, keepdim=True)
    # A softmax over nothing would be NaN.
    probabilities = torch.softmax(torch.where(found, logits, 0.0), dim=2)
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=2)
    return torch.where(found[..., 0], entropy, 0.0).mean(dim=1)
