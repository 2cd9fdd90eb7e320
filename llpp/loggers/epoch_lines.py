"""Progress as plain lines, for logs and for jobs that run at the same time, whose bars would overwrite each other."""

import logging
from pathlib import Path
from typing import cast

import pytorch_lightning as pl

from llpp.training.module import LearningLossModule

log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """Log one line every `every` epochs."""

    def __init__(self, every: int = 5) -> None:
        self.every = every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the run, the round, the epoch and the loss."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every:
            return
        run_dir = Path(trainer.default_root_dir)
        number = cast(LearningLossModule, pl_module).round_number
        place = f"{run_dir.parent.name}/{run_dir.name} · round {number}"
        loss = trainer.callback_metrics.get("train/pose_loss")
        loss_text = ""
        if loss is not None:
            loss_text = f" · pose loss {float(loss):.3f}"
        log.info("%s · epoch %d/%s%s", place, epoch, trainer.max_epochs, loss_text)
