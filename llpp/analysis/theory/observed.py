"""What measured losses say about the theory: the Gamma they fit, their pairs, and calibrated predictions.

N images with true losses (N,), above 0, and predicted losses (N,); every function is free of randomness.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from llpp.analysis.theory.gamma_pairs import Gamma
from llpp.analysis.theory.gradients import predicted_share, true_share

Values = NDArray[np.float64]
MAX_PAIRS = 2_000_000  # most pairs that a reliability curve is made of


def fit_gamma(losses: Values) -> Gamma:
    """Maximum-likelihood Gamma of two or more different losses above 0."""
    shape, _, scale = stats.gamma.fit(losses, floc=0)
    return Gamma(float(shape), 1 / float(scale))


def compute_ks_distance(losses: Values, gamma: Gamma) -> float:
    """Kolmogorov–Smirnov distance: the largest gap between the empirical and the Gamma's distribution function.

    Its usual p-value would be wrong, because the Gamma was fitted to the same losses.
    """
    return float(stats.kstest(losses, gamma.cdf).statistic)


def compute_pair_share(losses: Values, delta: ArrayLike) -> Values:
    """Share of all N (N - 1) / 2 pairs with |l_i - l_j| ≤ δ, of δ's shape."""
    ordered, delta = np.sort(losses), np.asarray(delta, dtype=float)
    count = len(ordered)
    reached = np.searchsorted(ordered, ordered + delta[..., None], side="right")
    pairs: Values = (reached - np.arange(1, count + 1)).sum(axis=-1)
    return pairs / (count * (count - 1) / 2)


@dataclass(frozen=True)
class Bin:
    """Pairs with like predicted ratios."""

    pairs: int
    predicted_ratio: float  # exp of the mean predicted difference
    true_ratio: float  # exp of the mean difference of log losses, so a geometric mean
    true_low: float  # first quartile of the true ratio
    true_high: float  # third quartile
    predicted_share: float  # mean q
    true_share: float  # mean t


@dataclass(frozen=True)
class Reliability:
    """How far exp(predicted difference) is the ratio of the true losses."""

    bins: tuple[Bin, ...]
    slope: float  # true over predicted log ratio, least squares through 0; 1 if calibrated; NaN if none is predicted
    share_error: float  # mean |q - t| of the bins, weighted by their pairs


def measure_reliability(predicted: Values, losses: Values, bins: int = 10) -> Reliability:
    """Reliability curve over equally filled bins of |p_i - p_j|, the image predicted to be worse always first.

    All pairs are used, or two million of them, spread evenly over the images, if there are more.
    """
    first, second = (np.concatenate(side) for side in zip(*_iterate_pairs(len(losses)), strict=True))
    difference = predicted[first] - predicted[second]
    turned = difference < 0
    first, second = np.where(turned, second, first), np.where(turned, first, second)
    difference = np.abs(difference)
    log_ratio = np.log(losses[first]) - np.log(losses[second])
    q, t = predicted_share(difference), true_share(losses[first], losses[second])
    found = []
    for group in np.array_split(np.argsort(difference, kind="stable"), min(bins, len(difference))):
        low, high = np.exp(np.quantile(log_ratio[group], (0.25, 0.75)))
        with np.errstate(over="ignore"):  # predictions that are no log losses can be any size
            ratios = np.exp(difference[group].mean()), np.exp(log_ratio[group].mean())
        shares = q[group].mean(), t[group].mean()
        found.append(Bin(len(group), *map(float, (*ratios, low, high, *shares))))
    error = sum(b.pairs * abs(b.predicted_share - b.true_share) for b in found) / len(difference)
    squares = float(difference @ difference)
    return Reliability(tuple(found), float(difference @ log_ratio) / squares if squares else float("nan"), error)


def _iterate_pairs(count: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Image i with image i + s for some or all steps s: each unordered pair at most once."""
    steps = np.arange(1, count // 2 + 1)
    wanted = max(1, min(len(steps), MAX_PAIRS // count))
    rows = np.arange(count)
    for step in np.unique(steps[np.linspace(0, len(steps) - 1, wanted).astype(int)]):
        first = rows[: count // 2] if 2 * step == count else rows
        yield first, (first + step) % count
