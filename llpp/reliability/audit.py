"""What a few images, drawn with known probabilities, say about the whole pool they come from.

Images that an acquisition selects are no sample of the pool. So a share of each budget is drawn by chance: one image
after the other, without replacement. Weights make the mean of their qualities unbiased (LURE: Farquhar, Gal and
Rainforth 2021; for evaluation Kossen et al. 2021).

N images in the pool, M of them drawn. Where persons of an image are labelled together, they count as one here.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata, t

CONFIDENCE = 0.95
MIN_MEASURED = 2  # images below which nothing is known about their spread
PRETENDED = 2.0  # images, half of quality 0 and half of 1, that widen the interval
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Draws:
    """M of N images, in the order in which they were drawn."""

    places: NDArray[np.int64]  # (M,) in the pool
    probability: NDArray[np.float64]  # (M,) of each draw, given those before it
    count: int  # N


@dataclass(frozen=True)
class PoolEstimate:
    """The mean quality of a pool, as an audit sees it."""

    value: float  # unbiased, so that chance may take it a little beyond 0 or 1
    low: float  # of the 95 % interval, within 0 to 1
    high: float
    measured: int  # drawn images with a known quality
    unknown: int  # drawn images that may still get a label


def draw_by_chance(count: int, number: int, rng: np.random.Generator, loss: Floats | None, tilt: float) -> Draws:
    """Draw some of N images without replacement, each with a probability in proportion to e^(tilt · u).

    u is the normal score of an image's predicted loss: Φ⁻¹((rank − ½) / N), the mean rank for equal losses. With
    tilt 0 all images are alike.

    Args:
        count: N.
        number: M, N at most.
        rng: draws; sorted by a Gumbel variable each, images are in the order of successive draws (Yellott 1977).
        loss: (N,) predicted; not needed with tilt 0.
        tilt: by how many standard deviations of u the mean of the drawn ones is raised.

    Raises:
        ValueError: losses that are no numbers.
    """
    logits = np.zeros(count)
    if loss is not None and tilt != 0:
        if not np.isfinite(loss).all():
            raise ValueError(f"{int((~np.isfinite(loss)).sum())} of {count} predicted losses are no numbers")
        logits = tilt * ndtri((rankdata(loss) - 0.5) / count)
    keys = logits + rng.gumbel(size=count)
    places = np.argsort(-keys, kind="stable")[:number]
    weights = np.exp(logits)
    # Summed from the last draw back: subtracting from the total would leave rounding errors where few are left.
    is_left = np.ones(count, dtype=np.bool_)
    is_left[places] = False
    never_drawn = float(weights[is_left].sum())
    left_before = never_drawn + np.cumsum(weights[places][::-1])[::-1]
    return Draws(places, weights[places] / left_before, count)


def compute_weights(probability: Floats, count: int) -> NDArray[np.float64]:
    """Return (M,) the weights with which drawn values have the mean of all N as their expected mean.

    v_m = 1 + (N − M) / (N − m) · (1 / ((N − m + 1) p_m) − 1), m from 1. They are 1 where all images are alike.

    Args:
        probability: (M,) of each draw, given those before it.
        count: N.
    """
    number = len(probability)
    if number == count:
        # Nothing is left to chance, and the last factor would be 0 / 0.
        return np.ones(number)
    draw = np.arange(1, number + 1)
    relative = 1 / ((count - draw + 1) * np.asarray(probability, dtype=np.float64))
    return np.asarray(1 + (count - number) / (count - draw) * (relative - 1))


def estimate_pool_quality(
    probability: Floats,
    count: int,
    quality: Floats,
    is_unknown: NDArray[np.bool_] | None = None,
    centre: float = 0.0,
) -> PoolEstimate | None:
    """Estimate the mean quality of N images from M that were drawn; None if fewer than two of them are measured.

    Drawn images without a quality that never get one, because people skip them or they show nobody, are left out:
    then the estimate is about the images of the pool that have a quality, and is a ratio, which is unbiased only for
    large M. Those that may still get one widen the interval as far as qualities of 0 and of 1 would take it.

    The interval is Student's around the weighted mean, whose variance is that of a sum of martingale differences,
    after two pretended images of quality 0 and 1 have joined the drawn ones (as Agresti and Coull 1998 do for
    shares). Without them, five images that are all right would have an interval of no width.

    Args:
        probability: (M,) of each draw, given those before it.
        count: N.
        quality: (M,) 0 to 1; NaN where there is none.
        is_unknown: (M,) whose quality is not known yet; None: nobody's.
        centre: a guess of the result, made before the audit: the estimate is the same on average, and with a good
            guess unequal weights matter less.
    """
    quality = np.asarray(quality, dtype=np.float64)
    open_ones = np.zeros(len(quality), dtype=np.bool_) if is_unknown is None else is_unknown & np.isnan(quality)
    has_quality = np.isfinite(quality)
    measured = int(has_quality.sum())
    if measured < MIN_MEASURED:
        return None
    value, low, high = _estimate(probability, count, quality, has_quality, centre)
    if open_ones.any():
        _, low, _ = _estimate(probability, count, np.where(open_ones, 0.0, quality), has_quality | open_ones, centre)
        _, _, high = _estimate(probability, count, np.where(open_ones, 1.0, quality), has_quality | open_ones, centre)
    return PoolEstimate(value, low, high, measured, int(open_ones.sum()))


def estimate_mean_quality(quality: Floats) -> PoolEstimate | None:
    """Estimate the mean quality of images like (T,) random ones, NaN where unknown; None with fewer than two known.

    The interval is that of `estimate_pool_quality` for an endless pool.
    """
    known = np.asarray(quality, dtype=np.float64)
    known = known[np.isfinite(known)]
    count = len(known)
    if count < MIN_MEASURED:
        return None
    value = float(known.mean())
    variance = float(known.var(ddof=1)) / count
    low, high = _compute_interval(value, variance, count, PRETENDED)
    return PoolEstimate(value, low, high, count, 0)


def _estimate(
    probability: Floats, count: int, quality: Floats, counts: NDArray[np.bool_], centre: float
) -> tuple[float, float, float]:
    """Return the estimate and the ends of its interval, over the images that count."""
    weights = compute_weights(probability, count)
    values = np.where(counts, quality - centre, 0.0)
    share = 1.0 if counts.all() else float((weights * counts).mean())
    mean = float((weights * values).mean()) / share
    if not counts.all():
        # A ratio errs by how far each value is from it. A plain weighted mean also errs by its centre, times how far
        # the mean weight is from 1.
        values = np.where(counts, values - mean, 0.0) / share
    variance = _compute_variance(probability, count, values)
    # Where most of the pool was drawn, little is left to pretend.
    pretended = PRETENDED * (count - len(quality)) / count
    low, high = _compute_interval(centre + mean, variance, int(counts.sum()), pretended)
    return centre + mean, low, high


def _compute_variance(probability: Floats, count: int, values: Floats) -> float:
    """The variance of the weighted mean of (M,) values.

    The weighted mean is Σ c_m a_m / M, where each a_m = x_m / (N p_m) + Σ_{t<m} x_t / N has the pool's mean as its
    expected value whatever was drawn before, and c_m = N (N − M) / ((N − m)(N − m + 1)). So the terms are
    uncorrelated.
    """
    number = len(values)
    if number == count:
        return 0.0
    draw = np.arange(1, number + 1)
    before = np.concatenate([[0.0], np.cumsum(values)[:-1]])
    terms = values / (count * probability) + before / count
    shares = count * (count - number) / ((count - draw) * (count - draw + 1)) / number
    squares = float((shares**2 * (terms - float((shares * terms).sum())) ** 2).sum())
    lost = float((shares**2).sum())  # as 1 / M is where all images are alike, for the mean that is estimated, too
    return squares / (1 - lost)


def _compute_interval(value: float, variance: float, measured: int, pretended: float) -> tuple[float, float]:
    """Return the ends of the interval after so many images of quality 0 and 1 have joined the measured ones."""
    value = min(max(value, 0.0), 1.0)
    total = measured + pretended
    middle = (measured * value + pretended / 2) / total
    squares = variance * measured * (measured - 1)
    squares += measured * (value - middle) ** 2 + pretended / 2 * (middle**2 + (1 - middle) ** 2)
    error = math.sqrt(squares / (total - 1) / total)
    half = float(t.ppf((1 + CONFIDENCE) / 2, total - 1)) * error
    return max(middle - half, 0.0), min(middle + half, 1.0)
