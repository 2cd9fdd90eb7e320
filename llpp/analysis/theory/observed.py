"""Measured losses under the theory: the Gamma that fits them, the differences of pairs, calibration of predictions.

There are N images with true losses (N,) above 0 and predicted losses (N,). No function is random.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from llpp.analysis.theory.gamma_pairs import Gamma
from llpp.analysis.theory.gradients import predicted_share, true_share

Values = NDArray[np.float64]
Rows = NDArray[np.intp]
MAX_PAIRS = 2_000_000  # of a reliability curve, at most


def fit_gamma(losses: Values) -> Gamma:
    """Fit a Gamma to losses (N,) above 0 by maximum likelihood; at least two of them must differ."""
    shape, _, scale = stats.gamma.fit(losses, floc=0)
    return Gamma(float(shape), 1 / float(scale))


def compute_ks_distance(losses: Values, gamma: Gamma) -> float:
    """Return the Kolmogorov–Smirnov distance: the largest gap between both distribution functions.

    There is no p-value: the usual one would be wrong, because the Gamma is fitted to the same losses.
    """
    return float(stats.kstest(losses, gamma.cdf).statistic)


def compute_pair_share(losses: Values, delta: ArrayLike) -> Values:
    """Return the share of all N (N - 1) / 2 pairs with |l_i - l_j| ≤ δ, of the shape of δ."""
    ordered = np.sort(losses)
    delta = np.asarray(delta, dtype=float)
    count = len(ordered)
    # reached[i] counts the losses of `ordered` that are at most δ above loss i, with all that come before it. Without
    # the first i + 1 of them, every pair is counted once, with its smaller loss.
    reached = np.searchsorted(ordered, ordered + delta[..., None], side="right")
    pairs: Values = (reached - np.arange(1, count + 1)).sum(axis=-1)
    return pairs / (count * (count - 1) / 2)


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability curve: pairs with similar predicted ratios."""

    pairs: int
    predicted_ratio: float  # exp of the mean predicted difference
    true_ratio: float  # exp of the mean difference of log losses, so a geometric mean
    true_low: float  # first quartile of the true ratio
    true_high: float  # third quartile
    predicted_share: float  # mean q
    true_share: float  # mean t


@dataclass(frozen=True)
class Reliability:
    """Reliability curve: how well exp(predicted difference) estimates the ratio of the true losses."""

    bins: tuple[Bin, ...]
    slope: float  # true over predicted log ratio, least squares through 0; 1 if calibrated; NaN for equal predictions
    share_error: float  # mean |q - t| of the bins, weighted by their pairs


def measure_reliability(predicted: Values, losses: Values, bins: int = 10) -> Reliability:
    """Measure the reliability curve over equally filled bins of |p_i - p_j|.

    In every pair the image that is predicted to be worse comes first. All pairs are used or, if there are more than
    two million, about two million of them, spread evenly over the images.
    """
    first, second = _list_pairs(len(losses))
    difference = predicted[first] - predicted[second]
    swap = difference < 0
    worse = np.where(swap, second, first)
    better = np.where(swap, first, second)
    difference = np.abs(difference)
    log_ratio = np.log(losses[worse]) - np.log(losses[better])
    q = predicted_share(difference)
    t = true_share(losses[worse], losses[better])

    curve = []
    order = np.argsort(difference, kind="stable")
    for group in np.array_split(order, min(bins, len(difference))):
        curve.append(_summarise_bin(difference[group], log_ratio[group], q[group], t[group]))

    error = sum(b.pairs * abs(b.predicted_share - b.true_share) for b in curve) / len(difference)
    squares = float(difference @ difference)
    slope = float("nan")
    if squares:
        slope = float(difference @ log_ratio) / squares
    return Reliability(tuple(curve), slope, error)


def _summarise_bin(difference: Values, log_ratio: Values, q: Values, t: Values) -> Bin:
    """Summarise the pairs of one bin; all arguments are of shape (pairs,)."""
    low, high = np.exp(np.quantile(log_ratio, (0.25, 0.75)))
    # Predictions that are not log losses can be of any size, and the ratio infinite.
    with np.errstate(over="ignore"):
        predicted_ratio = np.exp(difference.mean())
        true_ratio = np.exp(log_ratio.mean())
    return Bin(
        pairs=len(difference),
        predicted_ratio=float(predicted_ratio),
        true_ratio=float(true_ratio),
        true_low=float(low),
        true_high=float(high),
        predicted_share=float(q.mean()),
        true_share=float(t.mean()),
    )


def _list_pairs(count: int) -> tuple[Rows, Rows]:
    """List pairs of `count` images, each unordered pair at most once: first and second images, (P,) each.

    Image i is paired with image i + step, counted in a circle, for all steps or, above `MAX_PAIRS`, for some of them.
    """
    steps = np.arange(1, count // 2 + 1)
    wanted = max(1, min(len(steps), MAX_PAIRS // count))
    positions = np.linspace(0, len(steps) - 1, wanted).astype(int)
    rows = np.arange(count)
    firsts = []
    seconds = []
    for step in np.unique(steps[positions]):
        first = rows
        # Half-way round the circle, i and i + step meet again as i + step and i.
        if 2 * step == count:
            first = rows[: count // 2]
        firsts.append(first)
        seconds.append((first + step) % count)
    return np.concatenate(firsts), np.concatenate(seconds)
