"""Everything that a run needs, as values and factories."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

from llpp.acquisition.base import Acquisition
from llpp.data.crop_cache.cache import CropCache
from llpp.data.datamodule import PoolDataModule
from llpp.datasets.base import PoseDataset
from llpp.distributed import collectives
from llpp.hashing import hash_json
from llpp.inference.performance import Performance
from llpp.run_dir.state import RunState
from llpp.settings import Settings
from llpp.training.module import LearningLossModule, Phase
from llpp.training.round_trainer import RoundTrainer


class Observer(Protocol):
    """Shows a run elsewhere. It may be told about a round more than once, but never misses one."""

    def show(self, state: RunState, dataset: PoseDataset) -> None:
        """All committed rounds; called before the first one that is left to do, and after each."""

    def close(self, failed: bool) -> None:
        """Called once, however the run ends."""


@dataclass(frozen=True)
class Experiment:
    """Everything that a run needs, built; no configuration object in sight."""

    settings: Settings
    science: Mapping[str, Any]
    config: str  # the resolved config, as YAML
    run_dir: Path
    dataset: PoseDataset
    sizes: NDArray[np.float32]  # (N,) what PCK divides by, image pixels
    grow: bool  # whether records may join the pool of a run that has begun
    crops: CropCache | None  # read instead of images
    acquisition: Acquisition
    make_data: Callable[[Sequence[int], Sequence[int], int], PoolDataModule]  # labelled, validation rows, round
    make_module: Callable[[int, Phase], LearningLossModule]  # round
    make_trainer: Callable[[Path, str, bool], pl.Trainer]  # directory of its checkpoints, their key, the best too?
    code: str  # digest of the program
    performance: Performance
    base_models: Path | None  # where runs of a comparison leave their first models for each other
    loggers: Sequence[Logger]  # get each round's row
    observers: Sequence[Observer]

    @property
    def training(self) -> RoundTrainer:
        """What trains its rounds."""
        return RoundTrainer(
            self.settings,
            self.science,
            self.run_dir,
            self.base_models,
            self.code,
            self.make_module,
            self.make_trainer,
        )

    def prepare(self) -> None:
        """Have the crop cache, if there is to be one. All ranks call it together; once it is open nothing happens."""
        if self.crops is not None and not self.crops.name:
            self.crops.open(collectives.on_rank_zero(self.crops.prepare))

    def bad_images(self, rows: Sequence[int]) -> dict[int, str]:
        """Those of some rows whose image cannot be read, with the reason; all ranks call it together."""
        if self.crops is None:
            return self.dataset.find_bad_images(rows)
        self.prepare()
        return {row: self.crops.bad_rows[row] for row in rows if row in self.crops.bad_rows}

    def files(self, rows: Sequence[int]) -> str:
        """Digest of the image files of some rows, by name and size; a missing one is found when it is read."""
        paths = self.dataset.paths
        sizes = (paths[r].stat().st_size if paths[r].exists() else None for r in rows) if paths else ()
        return hash_json([list(rows), *([paths[r].name, size] for r, size in zip(rows, sizes, strict=False))])

    def show(self, state: RunState) -> None:
        """Tell all observers, if this is the first rank."""
        for observer in self.observers if collectives.get_rank() == 0 else ():
            observer.show(state, self.dataset)

    def split_rows(self, split: str, state: RunState) -> NDArray[np.int64]:
        """Rows of a split in dataset order, without the images that were skipped."""
        return self.dataset.records.select_rows(split, state.skipped)
