"""What the heatmaps say about themselves, for heads that predict losses: how sure each is, and how alike they are.

B images, K joints, h × w cells. The share of a cell is the softmax of its map there. Everything is computed in
float32 at least, also under autocast, because half precision would make ties. No shape depends on a value, so that
networks can be exported.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from llpp.errors import ConfigError, expect
from llpp.types import Features

Evidence = Literal["none", "summary"]  # what of it a head reads
PEAK_RADIUS = 2  # cells around the highest one, on each axis, that belong to its peak
# The numbers that describe one joint's map, in order.
SUMMARY = ("log_maximum", "maximum", "entropy", "second_peak", "peak_share", "spread", "x", "y")


def count_evidence(joints: int) -> int:
    """Return how many numbers `gather_evidence` gives for `joints` heatmaps."""
    return len(SUMMARY) + joints * (joints - 1) // 2 + 1


def gather_evidence(log_shares: Tensor) -> Tensor:
    """Everything that this module computes, as one vector per image.

    Of the joints' summaries it has the mean: with those of each joint, a head learns its training images by heart.

    Args:
        log_shares: (B, K, h, w), as `compute_log_shares` gives them.

    Returns:
        (B, `count_evidence(K)`): mean summary, overlaps of all pairs, distinctness last.
    """
    summary = summarise_joints(log_shares).mean(dim=1)
    distinctness = measure_distinctness(log_shares)[:, None]
    return torch.cat([summary, measure_overlaps(log_shares), distinctness], dim=1)


def check_heatmaps(joints: int, setting: str, instead: str) -> None:
    """Raise ConfigError about the `setting` that needs heatmaps where the backbone gives none."""
    if not joints:
        raise ConfigError(
            f"{setting} reads heatmaps, which this backbone does not give; use {instead}, or backbone=hourglass"
        )


def count_appended(evidence: Evidence, joints: int) -> int:
    """Return how many numbers `append_evidence` adds; ConfigError for an unknown word, or without heatmaps."""
    expect(evidence in ("none", "summary"), "head.evidence", evidence, "none or summary")
    if evidence == "none":
        return 0
    check_heatmaps(joints, "head.evidence=summary", "head.evidence=none")
    return count_evidence(joints)


def append_evidence(evidence: Evidence, vector: Tensor, features: Features) -> Tensor:
    """Add to a vector (B, C) what the heatmaps say, or nothing."""
    if evidence == "none":
        return vector
    gathered = gather_evidence(compute_log_shares(get_heatmaps(features)))
    return torch.cat([vector.to(gathered.dtype), gathered], dim=1)


def get_heatmaps(features: Features) -> Tensor:
    """Return the raw heatmaps (B, K, h, w); ConfigError if the backbone offers none."""
    if features.heatmaps is None:
        raise ConfigError(
            "this head reads heatmaps, and the backbone's Features have none; pass Features(…, heatmaps=…) the last "
            "stack's, or choose another head"
        )
    return features.heatmaps


def compute_log_shares(maps: Tensor) -> Tensor:
    """Log-softmax over the cells of each map: (B, K, h, w) raw heatmaps of any precision → the same shape."""
    dtype = torch.promote_types(maps.dtype, torch.float32)
    flat = maps.to(dtype).flatten(2)
    return torch.log_softmax(flat, dim=2).reshape(maps.shape)


def summarise_joints(log_shares: Tensor) -> Tensor:
    """Describe each joint's map by the numbers that `SUMMARY` names.

    Args:
        log_shares: (B, K, h, w), as `compute_log_shares` gives them.

    Returns:
        (B, K, len(SUMMARY)): the logarithm of the largest share; that share; the entropy as a part of the largest
        possible one; the largest share outside of the highest peak's square, relative to that peak's; what the square
        has of the whole; the standard deviation of the position, both axes together; and its mean. Positions are
        -1 … 1 from the centre of the first cell to that of the last.
    """
    height, width = log_shares.shape[2:]
    shares = log_shares.exp()
    log_maximum, index = log_shares.flatten(2).max(dim=2)
    entropy = -(shares * log_shares).sum(dim=(2, 3)) / math.log(max(height * width, 2))

    rows = torch.arange(height, device=shares.device)
    columns = torch.arange(width, device=shares.device)
    near_rows = (rows - (index // width)[..., None]).abs() <= PEAK_RADIUS
    near_columns = (columns - (index % width)[..., None]).abs() <= PEAK_RADIUS
    in_peak = (near_rows[..., :, None] & near_columns[..., None, :]).to(shares.dtype)
    peak_share = (shares * in_peak).sum(dim=(2, 3))
    largest_outside = (shares * (1 - in_peak)).flatten(2).amax(dim=2)
    second_peak = largest_outside / log_maximum.exp()

    x, x_variance = _locate(shares.sum(dim=2))
    y, y_variance = _locate(shares.sum(dim=3))
    # The root has no gradient at zero, where one cell has everything.
    spread = (x_variance + y_variance + 1e-6).sqrt()
    numbers = [log_maximum, log_maximum.exp(), entropy, second_peak, peak_share, spread, x, y]
    return torch.stack(numbers, dim=2)


def _locate(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a position on one axis, -1 … 1, by the shares (B, K, length) of its cells: (B, K) each."""
    position = torch.linspace(-1, 1, shares.shape[2], device=shares.device, dtype=shares.dtype)
    mean = (shares * position).sum(dim=2)
    variance = (shares * (position - mean[..., None]).square()).sum(dim=2)
    return mean, variance


def measure_overlaps(log_shares: Tensor) -> Tensor:
    """How much the maps of two joints overlap: 1 where they are the same, 0 where no cell has a share of both.

    It is the Bhattacharyya coefficient, the sum of √(p q) over the cells, of the pairs (0, 1), (0, 2), … (1, 2), …

    Args:
        log_shares: (B, K, h, w), as `compute_log_shares` gives them.

    Returns:
        (B, K (K - 1) / 2).
    """
    joints = log_shares.shape[1]
    # Autocast would multiply in half precision.
    with torch.autocast(log_shares.device.type, enabled=False):
        roots = (log_shares / 2).exp().flatten(2)
        overlaps = roots @ roots.transpose(1, 2)
    # Slices, since an index would have to be sent to the device in each step, and the host would wait.
    of_later_joints = [overlaps[:, joint, joint + 1 :] for joint in range(joints)]
    return torch.cat(of_later_joints, dim=1)


def measure_distinctness(log_shares: Tensor) -> Tensor:
    """How much a place says about which joint is there: the mutual information of the two, in units of ln K.

    It is the entropy of the joints' mean map less the mean entropy of their maps (their Jensen–Shannon divergence): 1
    if every joint has cells of its own, 0 if all have the same map or if there is one joint. A network that has not
    understood a person gives the same places to many joints, even where each of the maps has a high maximum.

    Args:
        log_shares: (B, K, h, w), as `compute_log_shares` gives them.

    Returns:
        (B,), 0 to 1.
    """
    joints = log_shares.shape[1]
    log_mean = torch.logsumexp(log_shares, dim=1, keepdim=True) - math.log(joints)
    divergence = (log_shares.exp() * (log_shares - log_mean)).sum(dim=(2, 3)).mean(dim=1)
    return divergence / math.log(max(joints, 2))
