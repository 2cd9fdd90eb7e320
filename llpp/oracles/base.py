"""The contract of oracles: where the labels of selected images come from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Oracle(ABC):
    """Is asked for labels, and says which of them it has. Only rank 0 talks to it.

    A round trains on the ids that were asked for and answered; those that wait for an answer are not asked again.
    """

    knows_pool: bool = False  # whether labels are known without asking for them

    @abstractmethod
    def check(self, rows: NDArray[np.int64]) -> None:
        """Raise ConfigError if it can never label some of a run's training records, rows (n,) of the dataset."""

    @abstractmethod
    def ask(self, ids: Sequence[str]) -> None:
        """Ask for the labels of some ids, first the one that is wanted most; asking again changes nothing."""

    @abstractmethod
    def find_answered(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) whether the labels of each of n ids are known by now."""
