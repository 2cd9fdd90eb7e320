"""Risk against coverage: how many failures remain among the images that a score accepts as the surest.

A score orders N images, the surest lowest, as predicted losses do. The risk of some of them is the mean of their
losses; where a loss is 1 for a failure and 0 otherwise, it is the share of failures. Images with equal scores have no
order: whatever depends on one is its mean over all orders, so that no result depends on the order of the rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500  # of a band
TAIL = 0.025  # that a 95 % interval leaves out on either side
Values = NDArray[np.float64]
Numbers = NDArray[np.floating] | NDArray[np.bool_]


@dataclass(frozen=True)
class RiskCoverage:
    """The risk of the k surest images for every k."""

    coverage: Values  # (N,) k / N, rising to 1
    risk: Values  # (N,) mean loss of the k surest images

    @property
    def aurc(self) -> float:
        """The area under the curve, as the mean risk over all k (Geifman et al. 2019); NaN without images.

        Few images decide it: the surest one is part of every term.
        """
        return float(self.risk.mean()) if len(self.risk) else float("nan")

    @property
    def augrc(self) -> float:
        """The area under the generalised risk, coverage × risk (Traub et al. 2024); NaN without images.

        It is the share of images that fail unnoticed, on average over all shares that may be accepted; each failure
        counts alike. At random it is half of the mean loss.
        """
        count = len(self.risk)
        if not count:
            return float("nan")
        generalised = self.coverage * self.risk
        # Trapezia: the curve begins at 0, where nothing is accepted, and ends at the mean loss.
        return float((generalised.sum() - generalised[-1] / 2) / count)

    def get_risk_at(self, coverage: float) -> float:
        """Return the risk where at least this share of the images is accepted, over 0 to 1; NaN without images."""
        if not len(self.risk):
            return float("nan")
        # 0.95 × 100 is a little more than 95 in floating point.
        count = int(np.ceil(round(coverage * len(self.risk), 6)))
        return float(self.risk[max(count, 1) - 1])


def compute_risk_coverage(score: Numbers, loss: Numbers) -> RiskCoverage:
    """Compute the curve of N images.

    Args:
        score: (N,), finite; the higher, the less sure.
        loss: (N,), finite; or bool, whether the image is a failure.
    """
    values = np.asarray(score, dtype=np.float64)
    losses = np.asarray(loss, dtype=np.float64)
    count = len(values)
    accepted = np.arange(1, count + 1)
    if not count:
        return RiskCoverage(np.zeros(0), np.zeros(0))
    # The mean over all orders of images with equal scores is what each of them has if all have their mean loss.
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    mean_losses = np.bincount(group, losses) / sizes
    ordered = np.repeat(mean_losses, sizes)
    return RiskCoverage(accepted / count, np.cumsum(ordered) / accepted)


def compute_augrc_parts(score: Numbers, loss: Numbers) -> Values:
    """Return (N,) what each image contributes to AUGRC; their mean is AUGRC.

    AUGRC is half of the mean, over all pairs of images, of the loss of the one that is accepted first. Such a mean
    over pairs varies from sample to sample like the mean of these parts (Hoeffding 1948). So an interval of their
    mean is one of AUGRC, and an interval of the mean difference of two scores' parts compares these.

    Args:
        score: (N,), finite; the higher, the less sure.
        loss: (N,), finite; or bool, whether the image is a failure.
    """
    values = np.asarray(score, dtype=np.float64)
    losses = np.asarray(loss, dtype=np.float64)
    count = len(values)
    if not count:
        return np.zeros(0)
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    group_losses = np.bincount(group, losses)
    # Equal scores count half: each of two images is accepted first in half of the orders.
    images_after = count - np.cumsum(sizes) + sizes / 2
    losses_before = np.cumsum(group_losses) - group_losses / 2
    as_first = losses * images_after[group] / count
    as_second = losses_before[group] / count
    augrc = float(as_first.mean())
    return as_first + as_second - augrc


def compute_auroc(score: Numbers, failed: NDArray[np.bool_]) -> float:
    """Return the probability that a failure scores above another image, ties half (Mann & Whitney).

    NaN without at least one of each.
    """
    from scipy import stats  # here: it takes time to import

    failures = int(failed.sum())
    others = len(failed) - failures
    if failures == 0 or others == 0:
        return float("nan")
    ranks = stats.rankdata(score)
    # Mann & Whitney's U: of all pairs of a failure and another image, the number in the right order.
    u = ranks[failed].sum() - failures * (failures + 1) / 2
    return float(u / (failures * others))


def compute_risk_band(score: Numbers, loss: Numbers, coverages: Values) -> tuple[Values, Values]:
    """Return the ends (C,) of the 95 % interval of the risk at each of C coverages: a bootstrap over images.

    The same images give the same band.

    Args:
        score: (N,), N ≥ 1, finite; the higher, the less sure.
        loss: (N,), finite; or bool, whether the image is a failure.
        coverages: (C,), above 0 to 1.
    """
    curve = compute_risk_coverage(score, loss)
    count = len(curve.risk)
    losses = np.diff(curve.risk * np.arange(1, count + 1), prepend=0.0)
    wanted = np.ceil(np.round(coverages * count, 6))
    rng = np.random.default_rng(0)
    risks = np.empty((RESAMPLES, len(coverages)))
    for resample in range(RESAMPLES):
        copies = np.bincount(rng.integers(count, size=count), minlength=count)
        accepted = np.cumsum(copies)
        last = np.searchsorted(accepted, wanted)
        risks[resample] = np.cumsum(copies * losses)[last] / accepted[last]
    low, high = np.quantile(risks, [TAIL, 1 - TAIL], axis=0)
    return low, high
