"""Bootstrap intervals of paired differences between two methods, on plain arrays.

n pairs, one per seed that both methods have run. R resamples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PAIRS = 3  # pairs below which an interval would say nothing
MAX_EXACT_PAIRS = 6  # pairs up to which all nⁿ resamples are enumerated
RESAMPLES = 10_000  # random ones, for more pairs
PRECISION = 1e-6  # of the larger value: metrics are float32, and a difference of equal ones is not quite 0
TAIL = 0.025  # left out on either side of a 95 % interval
Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its bootstrap interval."""

    mean: float
    pairs: int
    interval: tuple[float, float] | None  # None with fewer than MIN_PAIRS pairs

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of 0."""
        if self.interval is None:
            return False
        low, high = self.interval
        return low > 0 or high < 0


def compute_paired_difference(values: ArrayLike, baseline: ArrayLike) -> Difference:
    """Compute the mean of `values` − `baseline` and its percentile bootstrap interval (Efron 1979) over pairs.

    With few pairs the interval is too narrow: of normal differences, about 75 % of the intervals from 3 pairs
    hold the true mean, 82 % from 4, 85 % from 5 and 90 % from 10, instead of 95 %.

    Args:
        values: (n,), n ≥ 1; any unit.
        baseline: (n,), the same seeds in the same order.
    """
    ours = np.asarray(values, dtype=np.float64)
    theirs = np.asarray(baseline, dtype=np.float64)
    differences = ours - theirs
    noise = PRECISION * float(np.abs([ours, theirs]).max())
    mean = _suppress_noise(float(differences.mean()), noise)
    interval = None
    if len(differences) >= MIN_PAIRS:
        low, high = compute_percentile_interval(resample_means(differences))
        interval = (_suppress_noise(low, noise), _suppress_noise(high, noise))
    return Difference(mean, len(differences), interval)


def _suppress_noise(mean: float, noise: float) -> float:
    """Replace a mean that is no more than rounding by 0."""
    if abs(mean) > noise:
        return mean
    return 0.0


def resample_means(values: Values) -> Values:
    """Return the means of resamples with replacement: (n,) → (R,).

    For n ≤ 6 these are all nⁿ resamples, for more values 10,000 random ones from a fixed seed.
    """
    n = len(values)
    if n <= MAX_EXACT_PAIRS:
        indices = np.indices((n,) * n).reshape(n, -1).T
    else:
        indices = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    means: Values = values[indices].mean(axis=1)
    return means


def compute_percentile_interval(means: Values) -> tuple[float, float]:
    """Return the ends of the central 95 % of (R,) values: less than 2.5 % are outside on either side."""
    tail = int(np.ceil(TAIL * len(means))) - 1
    ordered = np.sort(means)
    return float(ordered[tail]), float(ordered[-1 - tail])
