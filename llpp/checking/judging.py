"""One pass over labelled images: what a network that did not train on their labels says about them."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from llpp.data.datamodule import PoolDataModule
from llpp.errors import TrainingError
from llpp.training.module import LearningLossModule
from llpp.types import Batch

Columns = dict[str, NDArray[np.float32]]


class LabelJudge(pl.LightningModule):
    """A trained module whose predictions are compared with labels; nothing of it is trained."""

    def __init__(self, module: LearningLossModule) -> None:
        super().__init__()
        self.judge = module

    def predict_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Judge a batch.

        Returns:
            `row` (B,), `matrix` (B, 3, 3); `predicted_loss`, `true_loss`, `quality` (B,), as in a scoring pass; what
            the task offers; and what it says about labels, see `Task.compare_with_labels`.
        """
        module = self.judge
        if module.head is None:
            raise TrainingError("a module without a head cannot judge labels; train its head first")
        module.compilation.begin_step()
        image = module.prepare_images(batch)
        output = module.compilation.evaluate(module.backbone, image)
        losses, has_target = module.task.compute_losses(output, batch)
        predictions = module.predict(output, image)
        return {
            "row": batch["row"],
            "matrix": batch["matrix"],
            "predicted_loss": module.head(output.features).float(),
            "true_loss": losses.float().where(has_target, torch.nan),
            "quality": module.task.compute_quality(predictions, batch),
            **predictions,
            **module.task.compare_with_labels(output, batch),
        }


def judge_labels(
    trainer: pl.Trainer, module: LearningLossModule, data: PoolDataModule, rows: NDArray[np.int64]
) -> Columns:
    """Columns of `LabelJudge`, (R,) or flat (R, C), in the order of `rows`; predictions are in image pixels."""
    # Labels are exchanged within batches, and those of neighbours, as of frames of a film, may be nearly the same.
    mixed = np.random.default_rng(len(rows)).permutation(len(rows))
    loader = data.make_rows_loader(rows[mixed], trainer.strategy.root_device)
    batches: Any = trainer.predict(LabelJudge(module), dataloaders=loader)
    parts: dict[str, list[NDArray[Any]]] = {}
    for batch in batches or []:
        for name, values in batch.items():
            parts.setdefault(name, []).append(values.cpu().numpy())
    order = np.argsort(mixed)
    arrays = {name: np.concatenate(pieces)[order] for name, pieces in parts.items()}
    if not np.array_equal(arrays.pop("row"), rows):
        raise RuntimeError(f"{len(rows)} labels were to be judged, each once and in their order")
    matrices = arrays.pop("matrix").astype(np.float64)
    columns = {}
    for name, values in module.task.map_to_image(arrays, matrices).items():
        numbers = values.astype(np.float32)
        columns[name] = numbers if numbers.ndim == 1 else numbers.reshape(len(numbers), -1)
    return columns
