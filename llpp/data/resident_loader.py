"""Batches of crops that the device holds already: rows go there, and everything else is made there."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from llpp.data.crop_dataset import CropDataset, Mode, keep_upright
from llpp.data.samplers import EpochSampler, RowSampler
from llpp.tasks.record_tensors import RecordTensors
from llpp.types import Batch

IMAGES_AT_ONCE = 2_048  # whose matrices and labels are made and wait on the device: some hundred bytes each


class ResidentLoader:
    """The batches of a sampler, without pixels, on the device.

    Many batches are made at once, and each is a part of them that costs no copy.
    """

    # Lightning sets the epoch of `sampler`, and takes what has one for a DataLoader, which has this, too.
    batch_sampler = None

    def __init__(
        self, crops: CropDataset, sampler: EpochSampler | RowSampler, records: RecordTensors, device: torch.device
    ) -> None:
        self.crops = crops
        self.sampler = sampler
        self.records = records
        self.device = device

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.sampler.batch)

    def __iter__(self) -> Iterator[Batch]:
        rows = self.sampler.get_rows()
        size = self.sampler.batch
        at_once = max(1, IMAGES_AT_ONCE // size) * size
        for start in range(0, len(rows), at_once):
            made = self._make(rows[start : start + at_once])
            for first in range(0, len(made["row"]), size):
                yield {name: values[first : first + size] for name, values in made.items()}

    def _make(self, host_rows: NDArray[np.int64]) -> Batch:
        rows = torch.from_numpy(host_rows)
        if self.device.type == "cuda":
            # Out of other memory, the host would wait here until the device has done all that it was given before.
            rows = rows.pin_memory()
        rows = rows.to(self.device, non_blocking=True)
        records = self.records.take(rows)
        mode = self.sampler.mode
        turns = keep_upright(rows)
        if mode is Mode.TRAIN:
            turns = self.crops.draw_turns(records["hash"], torch.full_like(rows, self.sampler.epoch))
        idle = torch.full_like(rows, mode is Mode.IDLE, dtype=torch.bool)
        return self.crops.complete(rows, records["upright"], turns, idle)
