"""Whether a probability of failure is true: of images that are said to fail with 30 %, do 30 % fail?

The curve from predicted loss to probability is fitted and judged on the same labelled images, but never on the same
image: it is judged on a fifth of the groups after it was fitted to the others (cross-fitting). Of each group one
image counts, because an exact interval is about independent images. N images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.reliability.calibration import (
    CalibrationSet,
    choose_one_per_group,
    compute_lower_bound,
    compute_upper_bound,
    fit_failure_probability,
)

FOLDS = 5
BINS = 10
LEAST_IN_BIN = 20  # images, below which a share says little
ONE_SIDED = 0.975  # each end of a 95 % interval


@dataclass(frozen=True)
class ReliabilityBins:
    """Images in groups of about equal size, by rising probability of failure."""

    probability: NDArray[np.float64]  # (M,) that was said, the mean over the group
    share: NDArray[np.float64]  # (M,) that failed
    low: NDArray[np.float64]  # (M,) of the exact 95 % interval of that share
    high: NDArray[np.float64]  # (M,)
    count: NDArray[np.int64]  # (M,) images

    @property
    def mean_gap(self) -> float:
        """By how much the two differ on average over images; a little even where the probability is true."""
        return float(np.average(np.abs(self.probability - self.share), weights=self.count))


def measure_reliability(calibration: CalibrationSet) -> ReliabilityBins | None:
    """Compare the probability of failure with how often images failed; None with too few groups."""
    chosen = choose_one_per_group(calibration.group)
    calibration = CalibrationSet(calibration.score[chosen], calibration.failed[chosen], calibration.group[chosen])
    probability = cross_fit_probability(calibration)
    if probability is None:
        return None
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, max(1, min(BINS, len(order) // LEAST_IN_BIN)))
    count = np.array([len(rows) for rows in bins])
    failures = np.array([int(calibration.failed[rows].sum()) for rows in bins])
    return ReliabilityBins(
        probability=np.array([probability[rows].mean() for rows in bins]),
        share=failures / count,
        low=compute_lower_bound(failures, count, ONE_SIDED),
        high=compute_upper_bound(failures, count, ONE_SIDED),
        count=count,
    )


def cross_fit_probability(calibration: CalibrationSet) -> NDArray[np.float64] | None:
    """Return (N,) the probability of failure of each image, by a curve that was fitted to images of other groups.

    None if one of the curves has too few of them.
    """
    names, members = np.unique(calibration.group, return_inverse=True)
    fold_of_group = np.random.default_rng(0).permutation(len(names)) % FOLDS
    folds = fold_of_group[members]
    probability = np.empty(len(members))
    for fold in range(FOLDS):
        judged = folds == fold
        others = CalibrationSet(calibration.score[~judged], calibration.failed[~judged], calibration.group[~judged])
        curve = fit_failure_probability(others)
        if curve is None:
            return None
        probability[judged] = curve.compute(calibration.score[judged])
    return probability
