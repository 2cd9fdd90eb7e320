"""Pose losses: one number per image, before any mean over the batch.

B batch, S stacks, K joints, h × w heatmap cells. The same (B,) values train the backbone (through their mean)
and are, detached, the targets of the loss head.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from llpp.setting_rules import check_setting

Mask = Literal["labelled", "all"]


class PoseLoss(Protocol):
    """Raw heatmaps against Gaussian targets."""

    gives_shares: ClassVar[bool]  # whether the cells of a map add up to 1, or have heights as the targets

    def __call__(self, heatmaps: Tensor, target: Tensor, has_target: Tensor) -> Tensor:
        """(B, S, K, h, w), (B, K, h, w), (B, K) bool → (B,); 0 for an image that offers nothing to compare."""
        ...

    def to_heatmaps(self, raw: Tensor) -> Tensor:
        """Raw network output → maps that are decoded and shown, same shape."""
        ...


def average_over_joints(per_joint: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over joints: (B, K), (B, K) → (B,); 0 where all weights are."""
    return (per_joint * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-12)


def _weigh_joints(has_target: Tensor, mask: Mask) -> Tensor:
    return torch.ones_like(has_target, dtype=torch.float32) if mask == "all" else has_target.float()


@dataclass(frozen=True)
class HeatmapMSE:
    """Mean squared error over joints and cells, averaged over stacks (both papers).

    `mask: all` also asks for empty maps where a joint is not labelled or outside the crop, as the published
    LearningLoss++ code does; `labelled` leaves those joints out.
    """

    gives_shares: ClassVar[bool] = False
    mask: Mask = "labelled"

    def __post_init__(self) -> None:
        check_setting("pose_loss.mask", self.mask)

    def __call__(self, heatmaps: Tensor, target: Tensor, has_target: Tensor) -> Tensor:
        """See `PoseLoss`."""
        error = (heatmaps.float() - target[:, None]).square().mean(dim=(1, 3, 4))
        return average_over_joints(error, _weigh_joints(has_target, self.mask))

    def to_heatmaps(self, raw: Tensor) -> Tensor:
        """See `PoseLoss`."""
        return raw


@dataclass(frozen=True)
class ForegroundMSE:
    """Squared error averaged with weights `background` + target / its peak.

    The Gaussian covers a few per cent of a map, so plain MSE is nearly minimised by empty maps and training
    from scratch can stop there; here the Gaussian's cells carry most of the weight.
    """

    gives_shares: ClassVar[bool] = False
    mask: Mask = "labelled"
    background: float = 0.05  # weight of a cell far from the joint, relative to the joint's own

    def __post_init__(self) -> None:
        check_setting("pose_loss.mask", self.mask)
        check_setting("pose_loss.background", self.background)

    def __call__(self, heatmaps: Tensor, target: Tensor, has_target: Tensor) -> Tensor:
        """See `PoseLoss`."""
        peak = target.amax(dim=(2, 3), keepdim=True).clamp(min=1e-12)
        weight = self.background + target / peak
        squared = (heatmaps.float() - target[:, None]).square().mean(dim=1)
        error = (squared * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=1e-12)
        return average_over_joints(error, _weigh_joints(has_target, self.mask))

    def to_heatmaps(self, raw: Tensor) -> Tensor:
        """See `PoseLoss`."""
        return raw


@dataclass(frozen=True)
class SpatialCrossEntropy:
    """Cross-entropy between the softmax over cells and the normalised target, less the target's entropy.

    The subtraction changes no gradient and makes a perfect map cost 0, which the objectives need: a constant
    added to all losses would hide their ratios. Joints without a target cannot be compared and are left out.
    """

    gives_shares: ClassVar[bool] = True

    def __call__(self, heatmaps: Tensor, target: Tensor, has_target: Tensor) -> Tensor:
        """See `PoseLoss`."""
        share = target.flatten(2)
        share = share / share.sum(dim=2, keepdim=True).clamp(min=1e-12)
        log_predicted = torch.log_softmax(heatmaps.float().flatten(3), dim=3)
        cross = -(share[:, None] * log_predicted).sum(dim=3).mean(dim=1)
        entropy = -torch.xlogy(share, share).sum(dim=2)
        return average_over_joints((cross - entropy).clamp(min=0), has_target.float())

    def to_heatmaps(self, raw: Tensor) -> Tensor:
        """See `PoseLoss`."""
        return torch.softmax(raw.float().flatten(-2), dim=-1).reshape(raw.shape)
