"""Progress as plain lines, for logs and for jobs that run side by side, where bars would overwrite each other."""

import logging
import time
from pathlib import Path
from typing import cast

import pytorch_lightning as pl

from llpp.loggers.epoch_clock import EpochClock
from llpp.training.module import LearningLossModule

log = logging.getLogger(__name__)
LINES_PER_ROUND = 10
LONGEST_SILENCE = 300.0  # seconds


class EpochLines(pl.Callback):
    """One line every so many epochs; without a number, ten in a round, and one where five minutes have passed."""

    def __init__(self, every: int | None = 5) -> None:
        self.every = every
        self.clock = EpochClock()
        self.last_line = 0.0  # when it was logged, or the round was begun

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure."""
        self.clock.start(trainer.current_epoch)
        self.last_line = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the run, the round, the epoch, its loss, and how long the others will take."""
        epoch = trainer.current_epoch + 1
        epochs = trainer.max_epochs or epoch
        now = time.monotonic()
        if not self._is_due(epoch, epochs, now):
            return
        self.last_line = now
        module = cast(LearningLossModule, pl_module)
        run_dir = Path(trainer.default_root_dir)
        parts = [f"{run_dir.parent.name}/{run_dir.name}", f"round {module.round_number}", f"epoch {epoch}/{epochs}"]
        name = module.task.loss_name
        loss = trainer.callback_metrics.get(f"train/{name}")
        if loss is not None:
            parts.append(f"{name.replace('_', ' ')} {float(loss):.3f}")
        time_left = self.clock.describe(epoch, epochs)
        if time_left is not None:
            parts.append(time_left)
        log.info("%s", " · ".join(parts))

    def _is_due(self, epoch: int, epochs: int, now: float) -> bool:
        if self.every is not None:
            return epoch % self.every == 0
        # whole tenths of the round that are done, now and one epoch ago
        tenths = epoch * LINES_PER_ROUND // epochs
        before = (epoch - 1) * LINES_PER_ROUND // epochs
        return tenths > before or now - self.last_line >= LONGEST_SILENCE
