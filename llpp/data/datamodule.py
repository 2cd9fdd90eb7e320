"""Loaders of batches of crops.

Neither the number of workers nor a restart changes a crop: the sampler hands its whole key to the workers, so they
need no state of their own.

With several ranks each has its share of every global batch in training, and whole batches in evaluation: the batches
that the network sees there are those of a single process, and so are its scores, bit by bit.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from llpp.data.crop_dataset import CropDataset, CropKey, CropPipeline, Item, Mode, to_tensors
from llpp.data.loading_process import end_where_batches_do_not_fit
from llpp.datasets.base import AnyDataset
from llpp.distributed import collectives
from llpp.errors import ConfigError
from llpp.seeds import Stream, make_rng
from llpp.settings import LoaderSettings
from llpp.tasks.base import Task


class EpochSampler(Sampler[CropKey]):
    """A rank's share of rows in an order that is a function of (seed, round, epoch); Lightning sets the epoch.

    A last incomplete batch is left out: a batch of one would leave BatchNorm nothing to estimate, and an objective no
    pair to compare.
    """

    def __init__(self, rows: Sequence[int], batch_size: int, seed: int, round_number: int) -> None:
        self.rows = list(rows)
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
        order = make_rng(Stream.ORDER, *self.entropy, self.epoch).permutation(len(self.rows))
        share = collectives.shard(order[: self.used].tolist())
        return iter([CropKey(self.rows[index], Mode.TRAIN, self.epoch) for index in share])


class RowSampler(Sampler[CropKey]):
    """A rank's batches of rows, in the order in which they are given, for evaluation."""

    def __init__(self, rows: NDArray[np.int64], batch_size: int) -> None:
        self.rows = rows[compute_rank_positions(len(rows), batch_size, collectives.get_rank())]
        self.batch = batch_size
        self.mode = Mode.EVALUATE

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[CropKey]:
        return (CropKey(int(row), self.mode) for row in self.rows)


def compute_rank_positions(number: int, batch_size: int, rank: int) -> NDArray[np.int64]:
    """Positions, among `number` rows, of those that a rank evaluates: every n-th batch."""
    starts = np.arange(rank * batch_size, number, collectives.get_world_size() * batch_size)
    positions: NDArray[np.int64] = (starts[:, None] + np.arange(batch_size)).reshape(-1)
    return positions[positions < number]


class PoolDataModule(pl.LightningDataModule):
    """Loaders over the labelled rows of one round, and over any rows for evaluation."""

    def __init__(
        self,
        dataset: AnyDataset,
        task: Task,
        labelled: Sequence[int],
        validation: Sequence[int],
        pipeline: CropPipeline,
        loading: LoaderSettings,
        seed: int,
        round_number: int,
    ) -> None:
        super().__init__()
        self.crops = CropDataset(dataset, task, pipeline, seed, round_number)
        self.loading = loading
        self.sampler = EpochSampler(labelled, loading.batch_size, seed, round_number)
        self.validation = np.asarray(validation, dtype=np.int64)

    def train_dataloader(self) -> DataLoader[Item]:
        """The labelled rows, augmented, in each epoch's own order."""
        return self._make_loader(self.sampler, lasting=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """The validation rows, in their order; a rank without one takes part with a row that does not count."""
        sampler = RowSampler(self.validation, self.loading.eval_batch_size)
        if not len(sampler):
            sampler.rows = self.validation[:1]
            sampler.mode = Mode.IDLE
        return self._make_loader(sampler, lasting=True)

    def make_rows_loader(self, rows: NDArray[np.int64]) -> DataLoader[Item]:
        """Any rows in the given order, each once, without augmentation."""
        return self._make_loader(RowSampler(rows, self.loading.eval_batch_size))

    def _make_loader(self, sampler: RowSampler | EpochSampler, lasting: bool = False) -> DataLoader[Item]:
        """`lasting`: its workers wait for the next epoch."""
        return DataLoader(
            self.crops,
            batch_size=sampler.batch,
            sampler=sampler,
            num_workers=self.loading.workers,
            persistent_workers=self.loading.workers > 0 and lasting,
            pin_memory=self.loading.pin_memory,
            worker_init_fn=end_where_batches_do_not_fit,
            collate_fn=to_tensors,  # type: ignore[arg-type]  # `__getitems__` stacks already
        )
