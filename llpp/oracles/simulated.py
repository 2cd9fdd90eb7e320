"""Labelling as papers simulate it: the dataset has all labels, and gives them when asked."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import AnyDataset
from llpp.errors import ConfigError
from llpp.oracles.base import Oracle


class SimulatedOracle(Oracle):
    """Answers at once with the dataset's own labels."""

    knows_pool = True

    def __init__(self, dataset: AnyDataset) -> None:
        self.records = dataset.records

    def check(self, rows: NDArray[np.int64]) -> None:
        """See `Oracle.check`."""
        labels = self.records.labels
        unlabelled = rows[~labels.is_labelled[rows]]
        if len(unlabelled):
            raise ConfigError(
                f"{len(unlabelled)} of {len(rows)} training records have {labels.missing}, "
                f"{self.records.ids[unlabelled[0]]!r} among them; a simulated run, acquisition=true_loss above all, "
                "needs labels for the whole pool: leave them out"
            )

    def ask(self, ids: Sequence[str]) -> None:
        """See `Oracle.ask`; there is nothing to wait for."""

    def find_answered(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """See `Oracle.find_answered`."""
        rows = self.records.ids.find_rows(ids)
        answered: NDArray[np.bool_] = self.records.labels.is_labelled[rows] & (rows >= 0)
        return answered
