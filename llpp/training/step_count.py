"""How many steps a round takes: none is an error, and few are worth a hint."""

import logging
import math

import pytorch_lightning as pl

from llpp.errors import TrainingError

log = logging.getLogger(__name__)
MIN_STEPS = 200  # of the optimiser; with fewer, random weights have hardly begun to learn
LIMITS = (
    "limit_train_batches",
    "max_steps",
    "max_epochs",
)  # of the trainer; 0 allows no step


def hint_at_few_steps(trainer: pl.Trainer) -> None:
    """Warn before the first step of round 0 if there will be too few of them to learn much."""
    steps = trainer.estimated_stepping_batches
    if trainer.global_step > 0 or not trainer.is_global_zero or not 0 < steps < MIN_STEPS:
        return
    if steps == trainer.max_steps:
        remedy = f"trainer.max_steps={MIN_STEPS}"
    else:
        epochs = trainer.max_epochs or 1
        remedy = f"trainer.max_epochs={math.ceil(MIN_STEPS * epochs / steps)}"
    count = "1 step" if steps == 1 else f"{steps:g} steps"
    log.warning(
        "round 0 will take %s, and networks that start from random weights need a few hundred: set %s or more, or "
        "label more images at the start (initial=…)",
        count,
        remedy,
    )


def check_steps_taken(trainer: pl.Trainer, number: int) -> None:
    """Raise TrainingError if the training of round `number` has ended without a step: nothing was learned from."""
    if trainer.global_step > 0:
        return
    reason = "a limit of the trainer, such as trainer.max_time"
    for name in LIMITS:
        value = getattr(trainer, name)
        if value == 0:
            reason = f"trainer.{name}={value:g}"
    raise TrainingError(
        f"the training of round {number} has ended without a single step, because of {reason}, so the round is not "
        "kept; start a run with a higher value"
    )
