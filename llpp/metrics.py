"""PCK and how well predicted losses rank true ones: pure functions, and torchmetrics shells over them.

N or B images, K joints. All lengths are in one unit, whichever: PCK only compares their ratios.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from llpp.errors import ConfigError, expect

Scores = NDArray[np.floating]


def joint_correct(
    pred: Tensor, target: Tensor, visible: Tensor, normaliser: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Which joints lie within threshold × normaliser of the truth (Yang & Ramanan 2013).

    Args:
        pred: (B, K, 2).
        target: (B, K, 2); ignored where `visible` is 0.
        visible: (B, K), 0 where a joint is not labelled.
        normaliser: (B,) torso or head length; an image where it is NaN or 0 counts nowhere.
        threshold: share of the normaliser.

    Returns:
        (B, K) bool correct, and (B, K) bool counted; correct implies counted.
    """
    defined = torch.isfinite(normaliser) & (normaliser > 0)
    counted = (visible > 0) & defined[:, None]
    distance = torch.hypot(*(pred.float() - target.float()).unbind(-1))
    return (distance <= threshold * normaliser[:, None]) & counted, counted


def image_pck(correct: Tensor, counted: Tensor) -> Tensor:
    """Share of an image's counted joints that are correct: (B, K), (B, K) → (B,); NaN where none counts."""
    return correct.sum(dim=1) / counted.sum(dim=1).where(counted.any(dim=1), torch.nan)


class PCK(Metric):
    """Share of joints within `threshold` normalisers; `compute` gives each joint's and their mean.

    The mean is over joints, unweighted, without those named in `exclude` and those never counted. Images
    without a normaliser are left out and reported as `undefined`.
    """

    full_state_update = False
    correct: Tensor
    total: Tensor
    undefined: Tensor

    def __init__(self, joint_names: Sequence[str], threshold: float, exclude: Sequence[str] = ()) -> None:
        super().__init__()
        expect(threshold > 0, "pck.threshold", threshold, "a share of the normaliser above 0")
        if strangers := sorted(set(exclude) - set(joint_names)):
            raise ConfigError(f"pck.exclude names unknown joints {strangers}; the dataset has {list(joint_names)}")
        self.joint_names, self.threshold, self.exclude = tuple(joint_names), threshold, tuple(exclude)
        zeros = torch.zeros(len(self.joint_names), dtype=torch.long)
        self.add_state("correct", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("total", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("undefined", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def fresh(self) -> "PCK":
        """An empty metric of the same definition."""
        return PCK(self.joint_names, self.threshold, self.exclude)

    def update(self, pred: Tensor, target: Tensor, visible: Tensor, normaliser: Tensor) -> None:
        """Add (B, K, 2) predictions; see `joint_correct` for the arguments."""
        correct, counted = joint_correct(pred, target, visible, normaliser, self.threshold)
        self.correct += correct.sum(dim=0)
        self.total += counted.sum(dim=0)
        self.undefined += ((visible > 0).any(dim=1) & ~counted.any(dim=1)).sum()

    def compute(self) -> dict[str, Tensor]:
        """`mean`, `undefined` (images), and one entry per joint name; NaN where nothing was counted."""
        per_joint = self.correct / self.total.where(self.total > 0, torch.nan)
        kept = torch.tensor([n not in self.exclude for n in self.joint_names], device=per_joint.device)
        scores = dict(zip(self.joint_names, per_joint.unbind(), strict=True))
        return {"mean": per_joint[kept].nanmean(), "undefined": self.undefined.clone(), **scores}


def spearman(predicted: Scores, true: Scores) -> float:
    """Rank correlation of two (N,) arrays; NaN if either is constant or N < 2."""
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(stats.spearmanr(predicted, true).statistic)


def pair_accuracy(predicted: Scores, true: Scores) -> float:
    """Share of the pairs with different true values that are predicted in the right order; ties count half.

    Takes N log N steps: it is (1 + Somers' D) / 2, from Kendall's tau-b and the numbers of tied pairs.
    """
    pairs = len(true) * (len(true) - 1) / 2
    comparable, untied = (pairs - _tied_pairs(values) for values in (true, predicted))
    if comparable == 0:
        return float("nan")
    if untied == 0:
        return 0.5
    tau = float(stats.kendalltau(predicted, true).statistic)
    return 0.5 * (1.0 + tau * float(np.sqrt(untied / comparable)))


def _tied_pairs(values: Scores) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


def auroc(score: Scores, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties half (Mann & Whitney); NaN without one of each."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    ranks = stats.rankdata(score)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


class LossRanking(Metric):
    """How well predicted losses order true ones, and find the images whose PCK is below one half."""

    full_state_update = False
    predicted: list[Tensor]
    true: list[Tensor]
    pck: list[Tensor]

    def __init__(self, failure: float = 0.5) -> None:
        super().__init__()
        self.failure = failure
        for name in ("predicted", "true", "pck"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, true: Tensor, pck: Tensor) -> None:
        """Add (B,) predicted losses, (B,) true losses and (B,) PCK per image (NaN: not judged)."""
        self.predicted.append(predicted.detach().float())
        self.true.append(true.detach().float())
        self.pck.append(pck.detach().float())

    def compute(self) -> dict[str, float]:
        """`spearman`, `pair_accuracy`, and `auroc` of "PCK below `failure`"."""
        predicted, true, pck = (
            dim_zero_cat(parts).cpu().numpy() if len(parts) else np.zeros(0)
            for parts in (self.predicted, self.true, self.pck)
        )
        judged = np.isfinite(pck)
        return {
            "spearman": spearman(predicted, true),
            "pair_accuracy": pair_accuracy(predicted, true),
            "auroc": auroc(predicted[judged], pck[judged] < self.failure),
        }
