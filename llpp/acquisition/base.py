"""The contract of acquisition functions: candidates → ids to label next.

N candidates. A selection is deterministic given the generator and leaves its inputs unchanged.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from llpp.backbones.base import Backbone
from llpp.types import Candidates, Progress

PROGRESS = "progress"
LABELLED = "labelled_"  # what columns of the labelled images begin with
TARGET = "target_"  # of the images in `Acquisition.target_file`
GRADIENT_LENGTH = "gradient_length"  # a column that compares candidates with the labelled images
GENERAL = ("predicted_loss", "true_loss", "embedding")
OF_LABELLED = ("labelled_embedding", "labelled_true_loss")
OF_TARGET = ("target_embedding", "target_predicted_loss")
NEEDS = frozenset({*GENERAL, *OF_LABELLED, *OF_TARGET, PROGRESS})


class Acquisition(ABC):
    """Ranks the unlabelled pool and selects from it."""

    # What of Candidates to fill: of NEEDS, or columns of the task, with `labelled_` or `target_` before them
    # those of the labelled images or of the target.
    needs: frozenset[str] = frozenset()
    takes_failure_scores: bool = True  # as predicted losses, where another than the head ranks; False: the head's
    dropout_passes: int = 0  # over each image, in which the network drops units, for a task's `dropout_columns`
    target_file: str | None = None  # ids, one a line, of images of the dataset on which the model is to be good

    @abstractmethod
    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """Return `budget` distinct ids, first the one to label first; all of them if the pool is smaller."""

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ConfigError if this backbone does not give what the needed columns are computed from."""
        return

    def compute_beta(self, progress: Progress | None) -> float | None:
        """Return the β that a selection at this progress leans to high losses with; None where it has none.

        The log and `rounds.csv` show it, so that one that changes from round to round can be followed.
        """
        return None


def select_highest(scores: NDArray[np.floating], budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the positions of the `budget` highest of (N,) scores, in descending order, ties in random order.

    Finding them takes time in proportion to N; only they are sorted.

    Raises:
        ValueError: scores that are not finite, which could land anywhere in the order.
    """
    check_finite(scores)
    # One lot per score breaks ties: all that tie with the last selected score have an equal chance.
    lots = rng.random(len(scores))
    positions = np.arange(len(scores))
    if 0 < budget < len(scores):
        threshold = np.partition(scores, len(scores) - budget)[len(scores) - budget]
        above = np.flatnonzero(scores > threshold)
        tied = np.flatnonzero(scores == threshold)
        remaining = budget - len(above)
        lowest_lots = np.argpartition(lots[tied], remaining - 1)[:remaining]
        positions = np.concatenate([above, tied[lowest_lots]])
    descending = -scores[positions].astype(np.float64)
    order = np.lexsort((lots[positions], descending))
    return positions[order][:budget]


def check_finite(scores: NDArray[np.floating]) -> None:
    """Raise ValueError if some of the scores (N,) are not finite: they have no place in an order."""
    finite = np.isfinite(scores)
    if not finite.all():
        raise ValueError(f"{int((~finite).sum())} of {len(scores)} scores are not finite")
