"""Which of the training records are labelled.

Apart from `run_dir.state`, which reads and writes what a run remembers, so that the command line needs no arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llpp.errors import StateError
from llpp.ids import Ids, Rows


@dataclass(frozen=True, eq=False)
class Pool:
    """The training rows, parted into labelled (in order of acquisition) and unlabelled (in dataset order)."""

    ids: Ids  # (N,) of the whole dataset
    labelled: Rows  # (L,)
    unlabelled: Rows  # (U,) ascending

    @classmethod
    def build(cls, ids: Ids, rows: Rows, labelled: Sequence[str]) -> "Pool":
        """The pool of `rows` (L + U,) in which `labelled` are labelled; StateError on an id that is not there."""
        return cls(ids, np.zeros(0, dtype=np.int64), rows).label(labelled)

    def label(self, ids: Sequence[str]) -> "Pool":
        """Move ids to the labelled part; StateError on strangers and repeats."""
        names = Ids(ids)
        rows = self.ids.find_rows(names)
        # The last position is for strangers, whose row is -1.
        free = np.zeros(len(self.ids) + 1, dtype=np.bool_)
        free[self.unlabelled] = True
        strange = np.flatnonzero(~free[rows])
        if len(strange):
            raise StateError(
                f"{len(strange)} ids to label are not in the unlabelled pool, {names[int(strange[0])]!r} among them; "
                "has the dataset changed since this run was started?"
            )
        free[rows] = False
        left = self.unlabelled[free[self.unlabelled]]
        twice = len(rows) + len(left) - len(self.unlabelled)
        if twice:
            raise StateError(
                f"{twice} of {len(rows)} ids would be labelled twice, {names.find_duplicate()!r} among them"
            )
        return Pool(self.ids, np.concatenate([self.labelled, rows]), left)
