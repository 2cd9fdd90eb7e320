"""When labelling could have stopped: pure rules over the measurements of a run's rounds, oldest first.

None of them is best everywhere (Pullar-Strecker et al. 2021), so they are shown next to each other and end no run.
R rounds. Whatever is not known is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from llpp.reliability.audit import PoolEstimate, estimate_pool_quality

MIN_CURVE_ROUNDS = 4  # below which a curve of three parameters says nothing
EXPONENTS = np.linspace(0.05, 3.0, 296)  # of the learning curves that are tried, in steps of 0.01
EXHAUSTED_GAP = 0.1  # of qualities: selected images that much worse than the pool are failures worth asking for
STABLE_SHARE = 0.98
STABLE_ROUNDS = 2
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LearningCurve:
    """a − b · n^−c, a metric by the number n of labelled images."""

    limit: float  # a
    scale: float  # b, 0 or more
    exponent: float  # c

    def compute(self, labelled: float) -> float:
        """The metric with so many labelled images."""
        return float(self.limit - self.scale * labelled**-self.exponent)


def fit_learning_curve(labelled: Floats, metric: Floats) -> LearningCurve | None:
    """Fit a − b · n^−c by least squares; None with fewer than four rounds.

    c is the best of a grid; a and b are exact for each. Curves that fall are flat ones here: b is 0 or more.

    Args:
        labelled: (R,) images, above 0.
        metric: (R,) higher is better.
    """
    counts = np.asarray(labelled, dtype=np.float64)
    values = np.asarray(metric, dtype=np.float64)
    if len(counts) < MIN_CURVE_ROUNDS:
        return None
    best = LearningCurve(float(values.mean()), 0.0, 1.0)
    least = float(((values - best.limit) ** 2).sum())
    # In units of the first count, so that no power underflows.
    relative = counts / counts[0]
    for exponent in EXPONENTS.tolist():
        powers = relative**-exponent
        centred = powers - powers.mean()
        spread = float((centred**2).sum())
        if spread == 0:
            continue
        slope = -float((centred * values).sum()) / spread
        if slope <= 0:
            continue
        limit = float(values.mean() + slope * powers.mean())
        error = float(((values - limit + slope * powers) ** 2).sum())
        if error < least:
            least = error
            best = LearningCurve(limit, slope * float(counts[0]) ** exponent, exponent)
    return best


def compute_gain(labelled: Floats, metric: Floats, budget: int) -> float | None:
    """What `budget` more labelled images would add to the metric, by the curve through all rounds so far."""
    curve = fit_learning_curve(labelled, metric)
    if curve is None:
        return None
    last = float(labelled[-1])
    return curve.compute(last + budget) - curve.compute(last)


def is_exhausted(audit: PoolEstimate, chosen_quality: float) -> bool:
    """Whether an acquisition is shown to find hardly worse images than chance does.

    The interval of the difference, quality of the pool minus that of the chosen images, begins at 0 or below and
    ends at 0.1 or below. One that only holds 0 may just be wide.
    """
    return audit.low <= chosen_quality and audit.high - chosen_quality <= EXHAUSTED_GAP


def is_stable(shares: Sequence[float | None]) -> bool:
    """Whether the last two rounds each left 98 % of the predictions where they were."""
    last = shares[-STABLE_ROUNDS:]
    if len(last) < STABLE_ROUNDS:
        return False
    return all(share is not None and share >= STABLE_SHARE for share in last)


def fit_quality(loss: Floats, quality: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a quality that never rises with the predicted loss: (T,) → the losses, ascending, and their qualities.

    Isotonic regression; images of equal loss count as one, with their mean.
    """
    losses, members, counts = np.unique(loss, return_inverse=True, return_counts=True)
    means = np.bincount(members, weights=np.asarray(quality, dtype=np.float64)) / counts
    fitted = isotonic_regression(means, weights=counts.astype(np.float64), increasing=False)
    return losses.astype(np.float64), np.asarray(fitted.x, dtype=np.float64)


def estimate_by_calibration(
    tested_loss: Floats,
    tested_quality: Floats,
    pool_loss: Floats,
    audited_loss: Floats,
    audited_quality: Floats,
    probability: Floats,
    is_unknown: NDArray[np.bool_],
) -> PoolEstimate | None:
    """Estimate the pool's mean quality from predicted losses, and correct it by the audited images.

    The qualities that a curve fitted to the test images gives the N pool images are averaged; the audit's weighted
    mean of true minus fitted quality is added, so that a test set unlike the pool does no harm on average. Where
    predicted losses say much about quality, these differences are small, and the interval is narrower than the
    audit's alone.

    Args:
        tested_loss: (T,) predicted.
        tested_quality: (T,).
        pool_loss: (N,) predicted, of all that could be drawn.
        audited_loss: (M,) predicted, in the order of the draws.
        audited_quality: (M,) NaN where unknown.
        probability: (M,) of the draws.
        is_unknown: (M,) whose quality may still become known: 0 for the lower end of the interval, 1 for the upper.

    Returns:
        None without test images, or with fewer than two measured draws.
    """
    if not len(tested_loss):
        return None
    losses, qualities = fit_quality(tested_loss, tested_quality)
    fitted = np.interp(audited_loss, losses, qualities)
    fitted_mean = float(np.interp(pool_loss, losses, qualities).mean())
    quality = np.asarray(audited_quality, dtype=np.float64)

    def correct(quality: Floats) -> PoolEstimate | None:
        # Differences are −1 to 1; halved and moved, they are qualities, for which the interval is made.
        halved = (quality - fitted + 1) / 2
        found = estimate_pool_quality(probability, len(pool_loss), halved, centre=0.5)
        if found is None:
            return None
        value, low, high = (fitted_mean + 2 * end - 1 for end in (found.value, found.low, found.high))
        return PoolEstimate(value, max(low, 0.0), min(high, 1.0), found.measured, int(is_unknown.sum()))

    known = correct(quality)
    lowest = correct(np.where(is_unknown, 0.0, quality))
    highest = correct(np.where(is_unknown, 1.0, quality))
    if known is None or lowest is None or highest is None:
        return None
    return replace(known, low=lowest.low, high=highest.high)
