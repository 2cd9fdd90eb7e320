"""A trained round, ready to score any records."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from llpp.data.datamodule import PoolDataModule
from llpp.distributed import collectives
from llpp.inference import fuse_batchnorm
from llpp.inference.evaluation import Evaluation, evaluate
from llpp.inference.performance import Performance
from llpp.training.gradient_lengths import LabelledImages
from llpp.training.module import LearningLossModule
from llpp.types import PlacedCrops


@dataclass(frozen=True)
class PoolScorer:
    """Scores records; the module's backbone becomes one for evaluation, which cannot be trained any more."""

    trainer: pl.Trainer
    module: LearningLossModule
    data: PoolDataModule
    performance: Performance = field(default_factory=Performance)

    def __post_init__(self) -> None:
        device_type = self.trainer.strategy.root_device.type
        size = self.module.images.size
        self.module.backbone = fuse_batchnorm.fuse_batchnorm(self.module.backbone, size, device_type)

    @cached_property
    def conv_outputs_per_image(self) -> int:
        """See `fuse_batchnorm.conv_outputs_per_image`."""
        return fuse_batchnorm.conv_outputs_per_image(self.module.backbone, self.module.images.size)

    def find_labelled(self, rows: NDArray[np.int64]) -> LabelledImages:
        """A pass over labelled rows, for columns that compare images with them. All ranks call it together."""
        scores = self.score(rows, frozenset({"embedding", "matrix"}))
        embedding, matrices = collectives.on_rank_zero(
            lambda: (scores.columns["embedding"], scores.columns["matrix"])
        )
        device = self.trainer.strategy.root_device
        # Crops as they are scored: neither mirrored nor left out.
        nothing = torch.zeros(len(rows), dtype=torch.bool, device=device)
        crops = PlacedCrops(
            rows=torch.from_numpy(rows).to(device),
            matrices=torch.from_numpy(matrices.astype(np.float64)).to(device),
            flipped=nothing,
            idle=nothing,
        )
        labels = dict(self.module.task.crop_labels(crops))
        return LabelledImages(torch.from_numpy(embedding).to(device), labels)

    def score(
        self,
        rows: NDArray[np.int64],
        keep: frozenset[str] = frozenset(),
        labelled: LabelledImages | None = None,
    ) -> Evaluation:
        """One pass over `rows`; see `evaluate`."""
        if fuse_batchnorm.can_compile_for_scoring(self.module, self.trainer):
            views = 1 + len(self.module.task.list_views(keep))
            pays = self.performance.should_compile(len(rows), views * self.conv_outputs_per_image)
            if pays:
                batch_size = self.data.loading.eval_batch_size
                fuse_batchnorm.compile_for_scoring(self.module, self.trainer, batch_size)
        return evaluate(self.trainer, self.module, self.data, rows, keep, labelled)
