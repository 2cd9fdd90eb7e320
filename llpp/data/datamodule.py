"""Loaders of batches of crops.

Neither the number of workers nor a restart changes a crop: the sampler hands its whole key to the workers, so they
need no state of their own. Crops that the device holds already need no workers either.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from llpp.data.crop_dataset import CropDataset, CropPipeline, Item, Mode, to_tensors
from llpp.data.loading_process import end_where_batches_do_not_fit
from llpp.data.resident_loader import ResidentLoader
from llpp.data.samplers import EpochSampler, RowSampler
from llpp.datasets.base import AnyDataset
from llpp.settings import LoaderSettings
from llpp.tasks.base import Task
from llpp.tasks.record_tensors import RecordTensors

Loader = DataLoader[Item] | ResidentLoader
CPU = torch.device("cpu")


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

    def train_dataloader(self) -> Loader:
        """The labelled rows, augmented, in each epoch's own order."""
        return self._make_loader(self.sampler, self._get_device(), lasting=True)

    def val_dataloader(self) -> Loader:
        """The validation rows, in their order; a rank without one takes part with a row that does not count."""
        sampler = RowSampler(self.validation, self.loading.eval_batch_size)
        if not len(sampler):
            sampler.rows = self.validation[:1]
            sampler.mode = Mode.IDLE
        return self._make_loader(sampler, self._get_device(), lasting=True)

    def make_rows_loader(self, rows: NDArray[np.int64], device: torch.device = CPU) -> Loader:
        """Any rows in the given order, each once, without augmentation.

        Batches of crops that are in the memory of `device` are made there.
        """
        return self._make_loader(RowSampler(rows, self.loading.eval_batch_size), device)

    def _get_device(self) -> torch.device:
        """The device of the trainer, once there is one."""
        return CPU if self.trainer is None else self.trainer.strategy.root_device

    @cached_property
    def _resident_records(self) -> RecordTensors:
        """What is needed of each record of a cache to place its crop."""
        records = self.crops.dataset.records
        source = self.crops.pipeline.cut
        if source is None:
            raise RuntimeError("resident crops need a source that they were read from")
        uprights = source.crop.place_all(records.boxes, source.shapes)
        return RecordTensors({"hash": self.crops.hashes, "upright": uprights})

    def _make_loader(self, sampler: RowSampler | EpochSampler, device: torch.device, lasting: bool = False) -> Loader:
        """`lasting`: its workers wait for the next epoch."""
        if self.crops.pipeline.resident:
            return ResidentLoader(self.crops, sampler, self._resident_records, device)
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
