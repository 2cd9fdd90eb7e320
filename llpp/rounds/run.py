"""A run's collaborators, as values and factories; no configuration object in sight."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

from llpp.acquisition.base import Acquisition
from llpp.data.crop_cache.cache import CropCache
from llpp.data.datamodule import PoolDataModule
from llpp.datasets.base import AnyDataset
from llpp.distributed import collectives
from llpp.hashing import hash_json
from llpp.inference.performance import Performance
from llpp.oracles.base import Oracle
from llpp.run_dir.state import Row, RunState
from llpp.settings import Settings
from llpp.tasks.base import Task
from llpp.training.round_trainer import RoundTrainer

MakeLoaders = Callable[[Sequence[int], Sequence[int], int], PoolDataModule]  # labelled, validation rows, round


class Observer(Protocol):
    """Shows a run elsewhere. It may hear of a round more than once, but never misses one."""

    def show(self, state: RunState, task: Task) -> None:
        """All committed rounds; called before the first one that is left to do, and after each."""

    def close(self, failed: bool) -> None:
        """Called once, however the run ends."""


@dataclass(frozen=True)
class RunData:
    """The records of a run, their images and what its task makes of them."""

    dataset: AnyDataset
    task: Task
    crops: CropCache | None  # read instead of images
    make_loaders: MakeLoaders

    def select_rows(self, split: str, state: RunState) -> NDArray[np.int64]:
        """Rows of a split in dataset order, without the images that were skipped."""
        return self.dataset.records.select_rows(split, state.skipped)

    def open_crops(self) -> None:
        """Have the crop cache, if there is to be one. All ranks call it together; once it is open nothing happens."""
        if self.crops is not None and not self.crops.name:
            self.crops.open(collectives.on_rank_zero(self.crops.prepare))

    def find_bad_images(self, rows: Sequence[int]) -> dict[int, str]:
        """Those of some rows whose image cannot be read, with the reason; all ranks call it together."""
        if self.crops is None:
            return self.dataset.find_bad_images(rows)
        self.open_crops()
        bad = self.crops.bad_rows
        return {row: bad[row] for row in rows if row in bad}

    def hash_files(self, rows: Sequence[int]) -> str:
        """Digest of the images of some rows, of files by name and size; a missing one is found when it is read."""
        files: list[Any] = []
        for row in rows if self.dataset.paths else ():
            path = self.dataset.paths[row]
            size = path.stat().st_size if path.exists() else None
            files.append([path.name, size])
        if self.dataset.pixel_digest:
            files.append(self.dataset.pixel_digest)
        return hash_json([list(rows), *files])


@dataclass(frozen=True)
class Publisher:
    """Where a run is shown while it goes; only rank 0 shows anything."""

    loggers: Sequence[Logger]  # get each round's row
    observers: Sequence[Observer]

    def show(self, state: RunState, task: Task) -> None:
        """Show all committed rounds to the observers."""
        if collectives.get_rank() == 0:
            for observer in self.observers:
                observer.show(state, task)

    def log_round(self, row: Row) -> None:
        """Send a round's measurements to loggers as `round/…`, at the step where its training ended."""
        for logger in self.loggers:
            logger.log_metrics(to_logger_metrics(row), step=int(row["steps"] or 0))
            logger.save()

    def close(self, failed: bool) -> None:
        """The run has ended."""
        for observer in self.observers:
            observer.close(failed)


def to_logger_metrics(row: Row) -> dict[str, float]:
    """A round's known measurements under the names that loggers get."""
    return {f"round/{name}": value for name, value in row.items() if value is not None}


@dataclass(frozen=True)
class Run:
    """Everything that the rounds need. Only the loop sees all of it; others get what they need."""

    settings: Settings
    result_settings: Mapping[str, Any]  # what decides results, flat
    labels: Mapping[str, str]  # digest of the labels that a round trains on, where people give them; else empty
    config: str  # the resolved config, as YAML
    code: str  # digest of the program
    directory: Path
    data: RunData
    trainer: RoundTrainer
    performance: Performance
    acquisition: Acquisition
    target: NDArray[np.int64] | None  # rows of the images on which the model is to be good, if the acquisition asks
    oracle: Oracle
    publisher: Publisher
