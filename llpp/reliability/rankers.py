"""What ranks images by how likely they are failures: the loss head, the network's own output, or both together.

N images. A ranker is a weighted sum of columns that a pass over images gives, on the scale of the head's predicted
losses: what expects those can take its scores instead.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.reliability.risk_coverage import compute_augrc_parts

Columns = Mapping[str, NDArray[np.float32]]
HEAD = "head"
LOSS_COLUMN = "predicted_loss"
FAILURE_SCORE = "failure_score"  # column of score tables where another than the head ranks
LEAST_SPREAD = 1e-3  # of scores, as a share of their mean
ROUNDING = 1e-7  # of single precision: a column that varies less, as a share of its mean, is the same for all
SMALLEST_SPREAD = 1e-20  # of a column, whose inverse is its weight
MIN_IMAGES = 25  # to choose by
MIN_OF_EACH = 5  # failures, and others, among these
NORMAL_90 = 1.2816  # standard deviations below which a normal number is in 90 % of all cases


@dataclass(frozen=True)
class Term:
    """One column of the sum."""

    column: str  # predicted_loss, or what the task offers: confidence, distinctness
    centre: float  # is subtracted first
    weight: float  # below 0 where low values mean failures


@dataclass(frozen=True)
class Ranker:
    """A weighted sum of columns; the higher, the likelier a failure."""

    name: str  # head | the column of a free one | head+<column>
    terms: tuple[Term, ...]
    offset: float  # is added to the sum

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it needs."""
        return frozenset(term.column for term in self.terms)

    def compute_scores(self, columns: Columns) -> NDArray[np.float32]:
        """(N,) the higher, the likelier a failure; KeyError if a column is missing."""
        total: NDArray[np.float64] = np.full(len(columns[self.terms[0].column]), self.offset)
        for term in self.terms:
            values = columns[term.column].astype(np.float64)
            total += term.weight * (values - term.centre)
        return total.astype(np.float32)

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for `from_plain`."""
        terms = [{"column": term.column, "centre": term.centre, "weight": term.weight} for term in self.terms]
        return {"name": self.name, "terms": terms, "offset": self.offset}

    @staticmethod
    def from_plain(content: Mapping[str, Any]) -> "Ranker":
        """The ranker that `to_plain` wrote; KeyError, TypeError or ValueError if it is none."""
        terms = tuple(
            Term(str(term["column"]), float(term["centre"]), float(term["weight"])) for term in content["terms"]
        )
        if not terms:
            raise ValueError("a ranker without a term ranks nothing")
        return Ranker(str(content["name"]), terms, float(content["offset"]))


# Its scores are the predicted losses themselves, to the last bit.
HEAD_RANKER = Ranker(HEAD, (Term(LOSS_COLUMN, 0.0, 1.0),), 0.0)


@dataclass(frozen=True)
class Comparison:
    """All that could rank, on images whose failures are known."""

    ranker: Ranker  # what ranks by that
    augrc: Mapping[str, float]  # by the ranker's name: the lower, the better, see `RiskCoverage.augrc`
    images: int


def choose_ranker(columns: Columns, failed: NDArray[np.bool_], free_columns: Sequence[str]) -> Comparison | None:
    """Choose what ranks, by N images: the first free column, unless another ranker is better by more than chance.

    The others are the other free columns, the head, and the sum of the head and each free column. One is better if
    its AUGRC is lower with a certainty of 90 %, by the paired differences of `compute_augrc_parts`; of several, that
    with the lowest AUGRC ranks. Simply taking the lowest of all does worse than the first column too often where
    images are few.

    Args:
        columns: of the images, (N,) each: the predicted losses, and the free ones.
        failed: (N,) which of them failed.
        free_columns: what the network says about itself, low for a failure; one at least.

    Returns:
        None where the images are too few to choose by.
    """
    failures = int(failed.sum())
    if len(failed) < MIN_IMAGES or min(failures, len(failed) - failures) < MIN_OF_EACH:
        return None
    baseline, *others = [build_ranker([name], False, columns) for name in free_columns]
    others.append(HEAD_RANKER)
    others += [build_ranker([name], True, columns) for name in free_columns]
    baseline_parts = compute_augrc_parts(baseline.compute_scores(columns), failed)
    best = baseline
    augrc = {baseline.name: float(baseline_parts.mean())}
    for other in others:
        parts = compute_augrc_parts(other.compute_scores(columns), failed)
        augrc[other.name] = float(parts.mean())
        if augrc[other.name] < augrc[best.name] and _is_surely_lower(parts, baseline_parts):
            best = other
    return Comparison(best, augrc, len(failed))


def _is_surely_lower(parts: NDArray[np.float64], baseline_parts: NDArray[np.float64]) -> bool:
    """Whether the mean of (N,) parts is below that of others of the same images with a certainty of 90 %."""
    differences = parts - baseline_parts
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return bool(differences.mean() < -NORMAL_90 * error)


def build_ranker(free_columns: Sequence[str], with_head: bool, columns: Columns) -> Ranker:
    """Return the sum of standardised columns, on the scale of the head's predicted losses.

    Args:
        free_columns: what the network says about itself; low values mean failures.
        with_head: whether the head's predicted losses are part of the sum.
        columns: of some images without regard to their labels, whose mean and standard deviation are taken.

    Returns:
        A ranker whose scores have, over these images, the mean and standard deviation of the predicted losses. A
        column that is the same for all of them is left out of the sum, unless all columns are: a single image says
        nothing about scales, and others may still differ. Where a head predicts almost the same for all, scores vary
        by a thousandth of the mean all the same: their order would be lost in single precision. Images of which a
        column is not finite do not count.
    """
    names = ([LOSS_COLUMN] if with_head else []) + list(free_columns)
    finite = find_finite(columns, {LOSS_COLUMN, *names})
    values = {name: columns[name][finite].astype(np.float64) for name in {LOSS_COLUMN, *names}}
    spreads = {name: _compute_spread(values[name]) for name in names}
    varies = any(spread > 0 for spread in spreads.values())
    terms = []
    total = np.zeros(int(finite.sum()))
    for name in names:
        centre = _compute_mean(values[name])
        weight = 1.0 if name == LOSS_COLUMN else -1.0
        if varies:
            weight = weight / spreads[name] if spreads[name] > 0 else 0.0
        terms.append(Term(name, centre, weight))
        total += weight * (values[name] - centre)
    mean_loss = _compute_mean(values[LOSS_COLUMN])
    spread = _compute_spread(total)
    scale = 1.0
    # Two columns that say the opposite leave nothing but rounding.
    if varies and spread > ROUNDING:
        loss_spread = _compute_spread(values[LOSS_COLUMN])
        wanted = max(loss_spread, LEAST_SPREAD * abs(mean_loss)) or 1.0
        scale = wanted / spread
    scaled = tuple(Term(term.column, term.centre, term.weight * scale) for term in terms)
    return Ranker("+".join([HEAD] * with_head + list(free_columns)), scaled, mean_loss)


def find_finite(columns: Columns, names: Collection[str]) -> NDArray[np.bool_]:
    """(N,) whether all of these columns are finite."""
    finite = np.ones(len(columns[LOSS_COLUMN]), dtype=np.bool_)
    for name in names:
        finite &= np.isfinite(columns[name])
    return finite


def _compute_mean(values: NDArray[np.float64]) -> float:
    """The mean; 0 without any value."""
    return float(values.mean()) if len(values) else 0.0


def _compute_spread(values: NDArray[np.float64]) -> float:
    """The standard deviation; 0 where values differ by rounding alone, or there are none."""
    if not len(values):
        return 0.0
    spread = float(values.std())
    return spread if spread > max(ROUNDING * abs(float(values.mean())), SMALLEST_SPREAD) else 0.0
