"""How well predicted losses rank true ones, and a score finds failures: pure functions over arrays."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from llpp.reliability.risk_coverage import compute_auroc, compute_risk_coverage

Scores = NDArray[np.floating]

COVERAGES = (80, 90, 95)  # per cent of the images that are accepted
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


def compute_ranking_metrics(predicted: Scores, true: Scores) -> dict[str, float]:
    """Return `spearman` and `pair_accuracy` of (N,) arrays."""
    return {"spearman": spearman(predicted, true), "pair_accuracy": pair_accuracy(predicted, true)}


def compute_failure_metrics(score: Scores, quality: Scores) -> dict[str, float]:
    """Return how well a score finds failures: `augrc`, `aurc`, `auroc` and `risk_at_<coverage in per cent>`.

    Args:
        score: (N,); the higher, the likelier a failure.
        quality: (N,); below one half a failure, NaN where that is unknown: such images are left out.
    """
    has_quality = np.isfinite(quality)
    known_score = score[has_quality]
    failed = quality[has_quality] < FAILURE_QUALITY
    curve = compute_risk_coverage(known_score, failed)
    metrics = {"augrc": curve.augrc, "aurc": curve.aurc, "auroc": compute_auroc(known_score, failed)}
    for percent in COVERAGES:
        metrics[f"risk_at_{percent}"] = curve.get_risk_at(percent / 100)
    return metrics


def compute_failure_share(quality: Scores) -> float:
    """Return the share of failures among the (N,) images whose quality is known; NaN if it is of none."""
    known = quality[np.isfinite(quality)]
    return float((known < FAILURE_QUALITY).mean()) if len(known) else float("nan")
