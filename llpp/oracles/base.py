"""The contract of oracles: where the labels of selected images come from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.ids import Ids

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """What people have answered by now, whether they were asked for it or not."""

    labelled: Rows  # (L,) rows of the dataset to train on
    candidates: Rows  # (U,) those that may be asked for


class Oracle(ABC):
    """Is asked for labels, and says which of them it has. Only rank 0 talks to it.

    A round trains on the ids that were asked for and answered; those that wait for an answer are not asked again.
    """

    knows_pool: bool = False  # whether labels are known without asking for them
    asks_people: bool = False  # whether answers come between starts: a start trains one round, and selects
    spare: int = 1  # how many times the budget `choose` wants to choose from

    @abstractmethod
    def check(self, rows: NDArray[np.int64]) -> None:
        """Raise ConfigError if it can never label some of a run's training records, rows (n,) of the dataset."""

    @abstractmethod
    def ask(self, ids: Sequence[str]) -> None:
        """Ask for the labels of some ids, first the one that is wanted most; asking again changes nothing."""

    @abstractmethod
    def find_answered(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) whether the labels of each of n ids are known by now."""

    def find_closed(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) whether nothing more is to come for each of n ids: its label is known, or it never gets one."""
        return self.find_answered(ids)

    def find_units(self, ids: Ids) -> NDArray[np.int64]:
        """(n,) equal numbers for ids that are labelled together, such as the persons of one image."""
        return np.arange(len(ids))

    def divide(self, rows: Rows) -> KnownLabels | None:
        """Divide the training rows (n,), where labels also come unasked; None: what was asked for decides."""
        return None

    def count_wanted(self, budget: int) -> int:
        """How many images to select, where `budget` is the setting."""
        return budget

    def choose(self, ranked: Sequence[str], wanted: int, chosen: Sequence[str] = ()) -> list[str]:
        """Choose what to ask for from a selection of up to `spare` times as many ids, first the one wanted most.

        `chosen` are asked for in any case, in addition; they are not among `ranked`.
        """
        return list(ranked[:wanted])
