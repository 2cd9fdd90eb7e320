"""Progress as plain lines, for logs and for jobs that run side by side, where bars would overwrite each other."""

import logging
from pathlib import Path
from typing import cast

import pytorch_lightning as pl

from llpp.training.module import LearningLossModule

log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """One line every so many epochs."""

    def __init__(self, every: int = 5) -> None:
        self.every = every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the run, the round, the epoch and its loss."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every:
            return
        module = cast(LearningLossModule, pl_module)
        run_dir = Path(trainer.default_root_dir)
        where = f"{run_dir.parent.name}/{run_dir.name} · round {module.round_number}"
        name = module.task.loss_name
        loss = trainer.callback_metrics.get(f"train/{name}")
        shown = "" if loss is None else f" · {name.replace('_', ' ')} {float(loss):.3f}"
        log.info("%s · epoch %d/%s%s", where, epoch, trainer.max_epochs, shown)
