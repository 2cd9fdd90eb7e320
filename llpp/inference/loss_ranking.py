"""How well predicted losses rank true ones: pure functions over arrays."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.floating]


FAILURE_PCK = 0.5  # PCK below which an image is one


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
    comparable, untied = (pairs - _count_tied_pairs(values) for values in (true, predicted))
    if comparable == 0:
        return float("nan")
    if untied == 0:
        return 0.5
    tau = float(stats.kendalltau(predicted, true).statistic)
    return 0.5 * (1.0 + tau * float(np.sqrt(untied / comparable)))


def _count_tied_pairs(values: Scores) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


def auroc(score: Scores, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties half (Mann & Whitney); NaN without one of each."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    ranks = stats.rankdata(score)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def compute_ranking_metrics(predicted: Scores, true: Scores, pck: Scores) -> dict[str, float]:
    """`spearman`, `pair_accuracy`, and `auroc` of "PCK below one half" (PCK NaN: not judged), of (N,) arrays."""
    judged = np.isfinite(pck)
    return {
        "spearman": spearman(predicted, true),
        "pair_accuracy": pair_accuracy(predicted, true),
        "auroc": auroc(predicted[judged], pck[judged] < FAILURE_PCK),
    }
