"""The steps at which Lightning logs; it has no public names for them."""

from typing import Any

import pytorch_lightning as pl


def get_logged_step(trainer: pl.Trainer) -> int:
    """The step at which Lightning logs."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logged_step(trainer: pl.Trainer, step: int) -> None:
    """Let a new trainer log from `step` on; its own count from 0 would fold all rounds onto each other."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


def is_logged(trainer: pl.Trainer) -> bool:
    """Whether loggers get the losses of the training step that is under way."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # the stub lacks it
    return every > 0 and (get_logged_step(trainer) + 1) % every == 0


def are_losses_read(trainer: pl.Trainer) -> bool:
    """Whether anything reads the losses of the training step that is under way: loggers, or callbacks after an epoch.

    `log` takes about 0.9 ms of the host: it is spared for the steps that nobody sees.
    """
    settings: Any = trainer  # Lightning's stub lacks some of them
    may_be_last = trainer.is_last_batch or 0 <= trainer.max_steps <= trainer.global_step + 1
    # Where validations come within an epoch, callbacks look at the losses then. The whole number 1 is a step; of a
    # time between validations, Lightning has no setting of this name.
    interval = getattr(settings, "val_check_interval", None)
    validates_within = not isinstance(interval, float) or interval != 1.0
    return is_logged(trainer) or may_be_last or validates_within
