"""Which rows a rank trains on or evaluates, and in which order.

With several ranks each has its share of every global batch in training, and whole batches in evaluation: the batches
that the network sees there are those of a single process, and so are its scores, bit by bit.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from llpp.data.crop_dataset import CropKey, Mode
from llpp.distributed import collectives
from llpp.errors import ConfigError
from llpp.seeds import Stream, make_rng


class EpochSampler(Sampler[CropKey]):
    """A rank's share of rows in an order that is a function of (seed, round, epoch); Lightning sets the epoch.

    A last incomplete batch is left out: a batch of one would leave BatchNorm nothing to estimate, and an objective no
    pair to compare.
    """

    mode = Mode.TRAIN

    def __init__(self, rows: Sequence[int], batch_size: int, seed: int, round_number: int) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.entropy = (seed, round_number)
        self.epoch = 0
        ranks = collectives.get_world_size()
        batch = min(batch_size, len(self.rows))
        if batch % ranks:
            # Dropping some images would be another experiment.
            raise ConfigError(
                f"a batch of {batch} (data.batch_size={batch_size}, {len(self.rows)} labelled) cannot be shared by "
                f"{ranks} devices; change data.batch_size, initial or trainer.devices"
            )
        self.batch = batch // ranks  # of this rank
        self.used = len(self.rows) // batch * batch

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, after a resume too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.used // collectives.get_world_size()

    def __iter__(self) -> Iterator[CropKey]:
        return iter([CropKey(row, Mode.TRAIN, self.epoch) for row in self.get_rows().tolist()])

    def get_rows(self) -> NDArray[np.int64]:
        """All rows of the epoch, in their order."""
        order = make_rng(Stream.ORDER, *self.entropy, self.epoch).permutation(len(self.rows))
        share = collectives.shard(order[: self.used].tolist())
        return self.rows[list(share)]


class RowSampler(Sampler[CropKey]):
    """A rank's batches of rows, in the order in which they are given, for evaluation."""

    def __init__(self, rows: NDArray[np.int64], batch_size: int) -> None:
        self.rows = rows[compute_rank_positions(len(rows), batch_size, collectives.get_rank())]
        self.batch = batch_size
        self.mode = Mode.EVALUATE
        self.epoch = 0  # of no meaning here

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[CropKey]:
        return (CropKey(int(row), self.mode) for row in self.rows)

    def get_rows(self) -> NDArray[np.int64]:
        """All rows, in their order."""
        return self.rows


def compute_rank_positions(number: int, batch_size: int, rank: int) -> NDArray[np.int64]:
    """Positions, among `number` rows, of those that a rank evaluates: every n-th batch."""
    starts = np.arange(rank * batch_size, number, collectives.get_world_size() * batch_size)
    positions: NDArray[np.int64] = (starts[:, None] + np.arange(batch_size)).reshape(-1)
    return positions[positions < number]
