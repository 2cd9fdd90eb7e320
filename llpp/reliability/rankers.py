"""What ranks images by how likely they are failures: the loss head, the network's own output, or both together.

N images. A ranker is a weighted sum of columns that a pass over images gives, on the scale of the head's predicted
losses: what expects those can take its scores instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.float32]]
HEAD = "head"
LOSS_COLUMN = "predicted_loss"


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


def build_ranker(free_columns: Sequence[str], with_head: bool, columns: Columns) -> Ranker:
    """Return the sum of standardised columns, on the scale of the head's predicted losses.

    Args:
        free_columns: what the network says about itself; low values mean failures.
        with_head: whether the head's predicted losses are part of the sum.
        columns: of some images without regard to their labels, whose mean and standard deviation are taken.

    Returns:
        A ranker whose scores have, over these images, the mean and standard deviation of the predicted losses. A
        column that is the same for all of them is left out of the sum.
    """
    losses = columns[LOSS_COLUMN].astype(np.float64)
    names = ([LOSS_COLUMN] if with_head else []) + list(free_columns)
    terms = []
    total = np.zeros(len(losses))
    for name in names:
        values = columns[name].astype(np.float64)
        spread = float(values.std())
        sign = 1.0 if name == LOSS_COLUMN else -1.0
        weight = sign / spread if spread > 0 else 0.0
        terms.append(Term(name, float(values.mean()), weight))
        total += weight * (values - values.mean())
    spread = float(total.std())
    scale = float(losses.std()) / spread if spread > 0 else 1.0
    scaled = tuple(Term(term.column, term.centre, term.weight * scale) for term in terms)
    return Ranker("+".join([HEAD] * with_head + list(free_columns)), scaled, float(losses.mean()))
