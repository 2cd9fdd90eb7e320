"""Progress of a round's training as a bar, or as lines where a bar would fill a file with control characters."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from llpp.loggers.epoch_clock import EpochClock
from llpp.loggers.epoch_lines import EpochLines
from llpp.loggers.own_terminal import has_own_terminal


class EpochBar(RichProgressBar):
    """Lightning's bar with the round, epochs from 1 to n as everywhere else, and when the last one is reached."""

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.clock = EpochClock()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure."""
        self.clock.start(trainer.current_epoch)
        super().on_train_start(trainer, pl_module)

    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning counts from 0, and has no public place for these words.
        module: Any = self.trainer.lightning_module
        epochs = self.trainer.max_epochs or current_epoch + 1
        words = f"round {module.round_number} · epoch {current_epoch + 1}/{epochs}"
        time_left = self.clock.describe(current_epoch, epochs)
        return words if time_left is None else f"{words} · {time_left}"

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        """The values that are shown, without the number of the log's folder."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def make_progress(refresh_rate: int = 10, every: int | None = None) -> pl.Callback:
    """Return a bar for a terminal that belongs to this job alone, otherwise lines.

    Args:
        refresh_rate: of the bar, per second.
        every: epochs between lines, see `EpochLines`.
    """
    if has_own_terminal():
        return EpochBar(refresh_rate=refresh_rate)
    return EpochLines(every)
