"""From failure scores to a promise: which images to accept, so that few of them are failures.

A failure score is what a ranker says of an image: the higher, the likelier it is a failure.

A threshold is certified on labelled images that were drawn by chance, one of each group: with `confidence`, at most
the share `risk` of the images that it accepts are failures. Thresholds are tested from low to high and the first one
that cannot be certified ends the sequence, so that several tests break the promise no more often than one
(fixed-sequence testing: Angelopoulos et al. 2021, Learn then Test). Each test is the exact binomial bound of Clopper
and Pearson.

N images.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import betaincc, betaincinv

from llpp.errors import DataError, expect

LEAST_FOR_PROBABILITY = 50  # images: fewer say which are worse, but not how often these fail
GRID_STEP = 5  # percentiles between thresholds
START_FACTOR = 2  # so many times the images that could be certified at best are expected below the first threshold
MAX_NEEDED = 1 << 60
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class CalibrationSet:
    """Labelled images that were drawn by chance, and whether each is a failure."""

    score: Floats  # (N,) failure scores
    failed: NDArray[np.bool_]  # (N,)
    group: NDArray[np.str_]  # (N,) images of one group are not independent

    def __post_init__(self) -> None:
        if not len(self.score) == len(self.failed) == len(self.group):
            raise DataError(
                f"a calibration set has {len(self.score)} scores, {len(self.failed)} outcomes and {len(self.group)} "
                "groups; expected one of each for every image"
            )
        if not np.isfinite(self.score).all():
            raise DataError("a calibration set has failure scores that are no numbers; leave those images out")


@dataclass(frozen=True)
class Certificate:
    """What can be promised about the images whose failure score is at most `threshold`."""

    threshold: float | None  # None: nothing can be promised
    coverage: float  # share of the calibration images that it accepts
    accepted: int  # how many these are, one of each group
    failures: int  # of these
    bound: float  # of the share of failures among accepted images, at `confidence`
    more_needed: int  # random labelled images, about, until something can be promised; 0 with a threshold
    groups: int  # images that were counted: one of each group
    risk: float  # that was asked for
    confidence: float


@dataclass(frozen=True)
class RiskAtThreshold:
    """Failures among the calibration images that one threshold accepts."""

    threshold: float
    coverage: float
    accepted: int
    failures: int
    lower: float  # the share of failures, from here
    upper: float  # to here: each of the two is wrong in a share of 1 - confidence


@dataclass(frozen=True)
class FailureCurve:
    """The probability of failure, which never falls while the failure score rises."""

    score: NDArray[np.float64]  # (M,) ascending
    probability: NDArray[np.float64]  # (M,)

    def compute(self, scores: Floats) -> NDArray[np.float64]:
        """(B,) failure scores → (B,), linear between the calibration images and constant beyond them."""
        return np.asarray(np.interp(scores, self.score, self.probability))


def certify(calibration: CalibrationSet, grid_scores: Floats, risk: float, confidence: float = 0.9) -> Certificate:
    """Find the largest failure score below which at most the share `risk` of images are failures.

    Args:
        calibration: images that were drawn by chance.
        grid_scores: (M,) failure scores whose percentiles are the thresholds to test; any that do not look at
            whether calibration images failed.
        risk: share of failures among the accepted images.
        confidence: how often the promise is kept, over draws of calibration images.

    Raises:
        ConfigError: a share that is not between 0 and 1.
    """
    check_share("risk", risk, "no number of labels can promise that nothing ever fails")
    check_share("confidence", confidence, "no number of labels gives certainty")
    chosen = choose_one_per_group(calibration.group)
    scores = calibration.score[chosen]
    failed = calibration.failed[chosen]
    count = len(chosen)
    thresholds, shares = _make_grid(grid_scores)
    if not count or not len(thresholds):
        return Certificate(None, 0.0, 0, 0, 1.0, count_needed(0, risk, confidence), count, risk, confidence)
    accepted, failures = _count_below(scores, failed, thresholds)
    bounds = compute_upper_bound(failures, accepted, confidence)

    # A test of very few images fails by chance, and would end the sequence before it has begun.
    wanted = START_FACTOR * count_needed(0, risk, confidence)
    start = min(int(np.searchsorted(shares * count, wanted)), len(thresholds) - 1)
    last = start - 1
    while last + 1 < len(thresholds) and bounds[last + 1] <= risk:
        last += 1
    is_certified = last >= start
    # Without a certificate, the numbers are those of the first test, which failed.
    shown = last if is_certified else start
    more_needed = 0
    if not is_certified:
        more_needed = _count_more(int(accepted[start]), int(failures[start]), count, risk, confidence)
    return Certificate(
        threshold=float(thresholds[shown]) if is_certified else None,
        coverage=float(accepted[shown] / count) if is_certified else 0.0,
        accepted=int(accepted[shown]),
        failures=int(failures[shown]),
        bound=float(bounds[shown]),
        more_needed=more_needed,
        groups=count,
        risk=risk,
        confidence=confidence,
    )


def check_share(name: str, value: float, reason: str) -> None:
    """Raise ConfigError unless a value is between 0 and 1, without these."""
    expect(0 < value < 1, name, value, f"a share above 0 and below 1: {reason}")


def choose_one_per_group(group: NDArray[np.str_]) -> NDArray[np.int64]:
    """(N,) groups → the rows of one image of each, in their order; a hash of the group decides which."""
    names, members = np.unique(group, return_inverse=True)
    counts = np.bincount(members, minlength=len(names))
    if len(names) == len(group):
        return np.arange(len(group))
    order = np.argsort(members, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    picks = []
    for name, count in zip(names.tolist(), counts.tolist(), strict=True):
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        picks.append(int.from_bytes(digest, "big") % count)
    return np.sort(order[starts + np.array(picks, dtype=np.int64)])


def compute_upper_bound(failures: NDArray[Any], accepted: NDArray[Any], confidence: float) -> NDArray[np.float64]:
    """The exact upper bound of a share, of `failures` among `accepted` images; 1 where none was accepted."""
    alive = np.maximum(accepted - failures, 1)
    bound = betaincinv(failures + 1, alive, confidence)
    return np.where(accepted > failures, bound, 1.0)


def compute_lower_bound(failures: NDArray[Any], accepted: NDArray[Any], confidence: float) -> NDArray[np.float64]:
    """The exact lower bound of a share, of `failures` among `accepted` images."""
    bound = betaincinv(np.maximum(failures, 1), accepted - failures + 1, 1 - confidence)
    return np.where(failures > 0, bound, 0.0)


def count_needed(failures: int, risk: float, confidence: float) -> int:
    """How many images have to be accepted so that `failures` among them still certify `risk`."""

    def is_certified(accepted: int) -> bool:
        # The bound is at most `risk` where so few failures would be this improbable at that risk.
        return bool(betaincc(failures + 1, accepted - failures, risk) <= 1 - confidence)

    high = failures + 1
    while not is_certified(high):
        if high > MAX_NEEDED:
            return high
        high *= 2
    low = failures
    while high - low > 1:
        middle = (low + high) // 2
        if is_certified(middle):
            high = middle
        else:
            low = middle
    return high


def list_risks(calibration: CalibrationSet, grid_scores: Floats, confidence: float = 0.9) -> list[RiskAtThreshold]:
    """The share of failures below each threshold of the grid, with its exact interval: facts, and no promise."""
    chosen = choose_one_per_group(calibration.group)
    thresholds, _ = _make_grid(grid_scores)
    accepted, failures = _count_below(calibration.score[chosen], calibration.failed[chosen], thresholds)
    lower = compute_lower_bound(failures, accepted, confidence)
    upper = compute_upper_bound(failures, accepted, confidence)
    rows = []
    for position, threshold in enumerate(thresholds.tolist()):
        if not accepted[position]:
            continue
        rows.append(
            RiskAtThreshold(
                threshold=threshold,
                coverage=float(accepted[position] / len(chosen)),
                accepted=int(accepted[position]),
                failures=int(failures[position]),
                lower=float(lower[position]),
                upper=float(upper[position]),
            )
        )
    return rows


def fit_failure_probability(calibration: CalibrationSet) -> FailureCurve | None:
    """Fit the probability of failure to failure scores; None below LEAST_FOR_PROBABILITY groups.

    Isotonic regression; images of equal score count as one, with their mean.
    """
    chosen = choose_one_per_group(calibration.group)
    if len(chosen) < LEAST_FOR_PROBABILITY:
        return None
    scores, members, counts = np.unique(calibration.score[chosen], return_inverse=True, return_counts=True)
    means = np.bincount(members, weights=calibration.failed[chosen].astype(np.float64)) / counts
    fitted = isotonic_regression(means, weights=counts.astype(np.float64))
    return FailureCurve(scores.astype(np.float64), np.asarray(fitted.x, dtype=np.float64))


def _make_grid(scores: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thresholds, ascending, and which share of the scores each accepts."""
    known = np.sort(scores[np.isfinite(scores)].astype(np.float64))
    if not len(known):
        return np.zeros(0), np.zeros(0)
    percents = np.arange(GRID_STEP, 101, GRID_STEP)
    # Each percentile is one of the scores, rounded up, in whole numbers: shares would be rounded in binary.
    positions = (percents * len(known) + 99) // 100 - 1
    thresholds = np.unique(known[positions])
    return thresholds, np.searchsorted(known, thresholds, side="right") / len(known)


def _count_below(
    scores: Floats, failed: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many images each threshold accepts, and how many of these failed."""
    order = np.argsort(scores, kind="stable")
    accepted = np.searchsorted(scores[order], thresholds, side="right")
    failures = np.concatenate([[0], np.cumsum(failed[order])])[accepted]
    return accepted, failures


def _count_more(accepted: int, failures: int, count: int, risk: float, confidence: float) -> int:
    """How many more images it takes until the first test passes, if no further one fails.

    An estimate: with more images, the first threshold is lower, and may accept fewer failures.
    """
    needed = count_needed(failures, risk, confidence) - accepted
    # Of the images that are labelled, only those below the threshold help.
    share = max(accepted, 1) / count
    return max(1, math.ceil(needed / share))
