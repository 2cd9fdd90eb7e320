"""What may be claimed of measured numbers: 95 % intervals, on plain arrays.

N images, or seeds. Whatever an interval does not exclude may be chance. Nothing here is random from call to call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llpp.report.bootstrap import RESAMPLES, compute_percentile_interval

MIN_VALUES = 3  # below which an interval would say nothing
MIN_PAIRS = 6  # below which Fisher's z takes chance for a correlation in 8 % of all cases, not in 5 %
CONFIDENCE = 0.95
DECIMALS = 6  # metrics are float32, and a difference of equal ones is not quite 0
SELECTION_DECIMALS = 3  # of qualities, so that few distinct ones are left to draw from
FIELLER = 1.06  # Fieller, Hartley and Pearson (1957): the variance of Fisher's z of a Spearman ρ is 1.06 / (N − 3)
Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval; a difference of 0, or a correlation of 0, is chance."""

    value: float
    low: float
    high: float

    @property
    def direction(self) -> int:
        """1 if the whole interval is above 0, −1 if it is below, 0 if it holds 0."""
        if self.low > 0:
            return 1
        if self.high < 0:
            return -1
        return 0


def compute_mean_interval(values: ArrayLike) -> Interval | None:
    """Compute Student's interval of a mean; None with fewer than three finite values.

    Unlike a bootstrap's it is not too narrow with few values: 95 % of these intervals hold the mean of normal ones.

    Args:
        values: (N,), of images or of seeds; NaN where unknown.
    """
    from scipy import stats

    known = _select_known(values).round(DECIMALS)
    if len(known) < MIN_VALUES:
        return None
    mean = float(known.mean())
    error = float(known.std(ddof=1)) / len(known) ** 0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1)) * error
    return Interval(mean, mean - half, mean + half)


def compute_correlation_interval(rho: float, count: int) -> Interval | None:
    """Compute the interval of a Spearman ρ of `count` pairs, by Fisher's z; None with fewer than six pairs."""
    from scipy import stats

    if count < MIN_PAIRS or not np.isfinite(rho):
        return None
    bounded = np.clip(rho, -1 + 1e-9, 1 - 1e-9)  # Fisher's z of ±1 is infinite
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * (FIELLER / (count - 3)) ** 0.5
    centre = np.arctanh(bounded)
    return Interval(float(rho), float(np.tanh(centre - half)), float(np.tanh(centre + half)))


def compare_with_random_selections(quality: ArrayLike, selected: ArrayLike) -> Interval | None:
    """Compute by how much the mean of selected images differs from that of random selections of as many images.

    The interval is the difference without what 95 % of random selections deviate from their mean; so it excludes 0
    exactly where the selection is outside of their central 95 %. Random selections are drawn without replacement.

    Args:
        quality: (N,) of all candidates; NaN where unknown.
        selected: (N,) bool.

    Returns:
        None if no selected image, or no other one, has a known quality.
    """
    values = np.asarray(quality, dtype=np.float64).round(SELECTION_DECIMALS)
    chosen = np.asarray(selected, dtype=np.bool_)
    known = np.isfinite(values)
    values = values[known]
    chosen = chosen[known]
    count = int(chosen.sum())
    if count in (0, len(values)):
        return None
    pool_mean = float(values.mean())
    difference = float(values[chosen].mean()) - pool_mean
    distinct, frequencies = np.unique(values, return_counts=True)
    draws = np.random.default_rng(0).multivariate_hypergeometric(frequencies, count, RESAMPLES, method="marginals")
    low, high = compute_percentile_interval(draws @ distinct / count - pool_mean)
    # A selection at the very end of what is random must not seem to be beyond it by a rounding error.
    return Interval(difference, round(difference - high, 9), round(difference - low, 9))


def combine_directions(intervals: Sequence[Interval]) -> int:
    """Return the direction that all intervals of a few runs share; 0 if one of them holds 0, or they disagree."""
    directions = {interval.direction for interval in intervals}
    return directions.pop() if len(directions) == 1 else 0


def describe_shortfall(advantage: Interval) -> str | None:
    """Say what a model's advantage over a constant prediction shows; None if it is above 0."""
    if advantage.direction > 0:
        return None
    if advantage.direction < 0:
        return "learned too little to do better than a constant prediction"
    return "not shown, on these test images, to do better than a constant prediction"


def format_signed(value: float) -> str:
    """Format a number with its sign, and zero without one."""
    rounded = round(value, 3) + 0.0  # −0.0 becomes 0.0
    return f"{rounded:+.3f}".replace("-", "−").replace("+0.000", "0.000")


def format_interval(interval: Interval) -> str:
    """Return `−0.010 to +0.030`."""
    return f"{format_signed(interval.low)} to {format_signed(interval.high)}"


def _select_known(values: ArrayLike) -> Values:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]
