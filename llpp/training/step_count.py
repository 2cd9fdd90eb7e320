"""How many steps a round takes: none is an error, and few are worth a hint."""

import logging
import math

import pytorch_lightning as pl

from llpp.errors import TrainingError

log = logging.getLogger(__name__)
MIN_STEPS = 200  # of the optimiser; with fewer, random weights have hardly begun to learn


def hint_at_few_steps(trainer: pl.Trainer) -> None:
    """Say before the first step of round 0 if there will be too few of them to learn much."""
    steps = trainer.estimated_stepping_batches
    if trainer.global_step > 0 or not trainer.is_global_zero or not 0 < steps < MIN_STEPS:
        return
    if steps == trainer.max_steps:
        remedy = f"set trainer.max_steps={MIN_STEPS} or more"
    else:
        epochs = math.ceil(MIN_STEPS * (trainer.max_epochs or 1) / steps)
        # More images make longer epochs, and so more steps.
        remedy = (
            f"set trainer.max_epochs={epochs} or more, or begin with more labelled images (in simulations: initial=…)"
        )
    count = "1 step" if steps == 1 else f"{steps:g} steps"
    log.info(
        "round 0 will take %s, and networks that start from random weights need a few hundred: %s", count, remedy
    )


def check_steps_taken(trainer: pl.Trainer, number: int) -> None:
    """Raise TrainingError if the training of round `number` has ended without a step: nothing was learned from."""
    if trainer.global_step > 0:
        return
    # Other limits that allow no step are refused before anything is built.
    raise TrainingError(
        f"the training of round {number} has ended without a single step, so the round is not kept; raise what "
        "limits it, such as trainer.max_time"
    )
