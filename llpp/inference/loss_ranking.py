"""How well predicted losses rank true ones: pure functions over arrays."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.floating]

FAILURE_QUALITY = 0.5  # an image whose prediction has a lower quality, as PCK or accuracy, is a failure


def spearman(predicted: Scores, true: Scores) -> float:
    """Return the rank correlation of two (N,) arrays; NaN if either is constant or N < 2."""
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(stats.spearmanr(predicted, true).statistic)


def pair_accuracy(predicted: Scores, true: Scores) -> float:
    """Return the share of pairs with different true values that are predicted in the right order; ties count half.

    Takes N log N steps: it is (1 + Somers' D) / 2, from Kendall's tau-b and the numbers of tied pairs. NaN if no two
    true values differ.
    """
    pairs = len(true) * (len(true) - 1) / 2
    comparable = pairs - _count_tied_pairs(true)
    untied = pairs - _count_tied_pairs(predicted)
    if comparable == 0:
        return float("nan")
    # Kendall's tau is undefined if all predictions are tied.
    if untied == 0:
        return 0.5
    tau = float(stats.kendalltau(predicted, true).statistic)
    return 0.5 * (1.0 + tau * float(np.sqrt(untied / comparable)))


def _count_tied_pairs(values: Scores) -> float:
    _, counts = np.unique(values, return_counts=True)
    sizes = counts.astype(np.float64)
    return float((sizes * (sizes - 1) / 2).sum())


def auroc(score: Scores, positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores above a negative, ties half (Mann & Whitney).

    NaN without at least one of each.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = stats.rankdata(score)
    # Mann & Whitney's U: of all pairs of a positive and a negative, the number in the right order.
    u = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(u / (positives * negatives))


def compute_ranking_metrics(predicted: Scores, true: Scores, quality: Scores) -> dict[str, float]:
    """Return `spearman`, `pair_accuracy` and `auroc` of (N,) arrays.

    `auroc` is of failures: a quality below one half. Images whose quality is NaN are left out of it.
    """
    has_quality = np.isfinite(quality)
    return {
        "spearman": spearman(predicted, true),
        "pair_accuracy": pair_accuracy(predicted, true),
        "auroc": auroc(predicted[has_quality], quality[has_quality] < FAILURE_QUALITY),
    }
