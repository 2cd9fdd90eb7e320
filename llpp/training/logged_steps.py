"""The steps at which Lightning logs; it has no public names for them."""

from typing import Any

import pytorch_lightning as pl


def get_logged_step(trainer: pl.Trainer) -> int:
    """The step at which Lightning logs."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logged_step(trainer: pl.Trainer, step: int) -> None:
    """Let a new trainer log from `step` on; its own count from 0 would fold all rounds onto each other."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


def are_losses_read(trainer: pl.Trainer) -> bool:
    """Whether anything reads the losses of the training step that is ending: a logger, or callbacks after the epoch.

    `log` takes a millisecond of the host, as long as a small network: it is spared for the steps that nobody sees.
    """
    settings: Any = trainer  # Lightning's stub lacks some of them
    every = settings.log_every_n_steps
    is_logged = every > 0 and (get_logged_step(trainer) + 1) % every == 0
    ends_epoch = trainer.is_last_batch or 0 <= trainer.max_steps <= trainer.global_step
    # Where validations come within an epoch, callbacks look at the losses then. The whole number 1 is a step.
    interval = settings.val_check_interval
    validates_within = not isinstance(interval, float) or interval != 1.0
    return is_logged or ends_epoch or validates_within or trainer.should_stop
