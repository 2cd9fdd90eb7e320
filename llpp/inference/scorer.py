"""A trained round, ready to score any records."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from llpp.data.datamodule import PoolDataModule
from llpp.inference import fuse_batchnorm
from llpp.inference.evaluation import Evaluation, evaluate
from llpp.inference.performance import Performance
from llpp.training.module import LearningLossModule


@dataclass(frozen=True)
class PoolScorer:
    """A trained round, ready to score its pool: the module's backbone becomes one that cannot be trained any more."""

    trainer: pl.Trainer
    module: LearningLossModule
    data: PoolDataModule
    performance: Performance = field(default_factory=Performance)

    def __post_init__(self) -> None:
        self.module.backbone = fuse_batchnorm.fuse_batchnorm(self.module.backbone, self.module.crop_size)

    @cached_property
    def conv_outputs_per_image(self) -> int:
        """See `folding.values`."""
        return fuse_batchnorm.conv_outputs_per_image(self.module.backbone, self.module.crop_size)

    def score(self, rows: NDArray[np.int64], keep: frozenset[str] = frozenset()) -> Evaluation:
        """One pass over `rows`."""
        if fuse_batchnorm.can_compile_for_scoring(self.module, self.trainer) and self.performance.should_compile(
            len(rows), self.conv_outputs_per_image
        ):
            fuse_batchnorm.compile_for_scoring(self.module, self.trainer, self.data.loading.eval_batch_size)
        return evaluate(self.trainer, self.module, self.data, rows, keep)
