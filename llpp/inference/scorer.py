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
    """Scores records; the module's backbone becomes one for evaluation, which cannot be trained any more."""

    trainer: pl.Trainer
    module: LearningLossModule
    data: PoolDataModule
    performance: Performance = field(default_factory=Performance)

    def __post_init__(self) -> None:
        self.module.backbone = fuse_batchnorm.fuse_batchnorm(self.module.backbone, self.module.images.size)

    @cached_property
    def conv_outputs_per_image(self) -> int:
        """See `fuse_batchnorm.conv_outputs_per_image`."""
        return fuse_batchnorm.conv_outputs_per_image(self.module.backbone, self.module.images.size)

    def score(self, rows: NDArray[np.int64], keep: frozenset[str] = frozenset()) -> Evaluation:
        """One pass over `rows`; see `evaluate`."""
        if fuse_batchnorm.can_compile_for_scoring(self.module, self.trainer):
            views = 1 + len(self.module.task.list_views(keep))
            pays = self.performance.should_compile(len(rows), views * self.conv_outputs_per_image)
            if pays:
                batch_size = self.data.loading.eval_batch_size
                fuse_batchnorm.compile_for_scoring(self.module, self.trainer, batch_size)
        return evaluate(self.trainer, self.module, self.data, rows, keep)
