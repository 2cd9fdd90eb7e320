"""How sure a difference between two methods is: bootstrap intervals of paired differences, on plain arrays.

n pairs, one per seed that both methods have run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PAIRS = 3  # pairs below which an interval would say nothing
MAX_EXACT_PAIRS = 6  # pairs up to which all nⁿ resamples are enumerated
RESAMPLES = 10_000  # beyond that
PRECISION = 1e-6  # of the larger value: metrics are float32, and a difference of equal ones is not quite 0
TAIL = 0.025  # left out on either side of a 95 % interval
Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its bootstrap interval."""

    mean: float
    pairs: int
    interval: tuple[float, float] | None  # None with fewer than LEAST pairs

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def compute_paired_difference(values: ArrayLike, baseline: ArrayLike) -> Difference:
    """Mean of `values` − `baseline` and its percentile bootstrap interval (Efron 1979) over pairs.

    With few pairs the interval is too narrow: of normal differences, about 75 % of the intervals from 3 pairs
    hold the true mean, 82 % from 4, 85 % from 5 and 90 % from 10, instead of 95 %.

    Args:
        values: (n,), n ≥ 1; any unit.
        baseline: (n,), the same seeds in the same order.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    differences = ours - theirs
    noise = PRECISION * float(np.abs([ours, theirs]).max())
    interval = None
    if len(differences) >= MIN_PAIRS:
        low, high = compute_percentile_interval(resample_means(differences))
        interval = _suppress_noise(low, noise), _suppress_noise(high, noise)
    return Difference(_suppress_noise(float(differences.mean()), noise), len(differences), interval)


def _suppress_noise(mean: float, noise: float) -> float:
    """0 for what is no more than rounding."""
    return mean if abs(mean) > noise else 0.0


def resample_means(values: Values) -> Values:
    """Means of resamples with replacement: all nⁿ of them for n ≤ 6, else 10,000 from a fixed seed; (n,) → (R,)."""
    n = len(values)
    if n <= MAX_EXACT_PAIRS:
        chosen = np.indices((n,) * n).reshape(n, -1).T
    else:
        chosen = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    means: Values = values[chosen].mean(axis=1)
    return means


def compute_percentile_interval(means: Values) -> tuple[float, float]:
    """The central 95 % of (R,) values: the outermost ones beyond which lie less than 2.5 % on either side."""
    tail = int(np.ceil(TAIL * len(means))) - 1
    ordered = np.sort(means)
    return float(ordered[tail]), float(ordered[-1 - tail])
