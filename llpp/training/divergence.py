"""Losses and weights that are not finite.

Losses are kept on the device, and the host reads them every few steps only: reading one number makes it wait until
the device has done all that was queued before it.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from llpp.errors import TrainingError

REMEDY = "lower optimizer.lr or set trainer.gradient_clip_val; that is another experiment: give it another name=…"
STEPS_BETWEEN_CHECKS = 10


class NonFiniteLossMonitor:
    """Keeps the losses of the last few training steps, and checks them together.

    A step after one that failed has failed too, so nothing is lost by checking late, as long as it is done before
    anything is saved.
    """

    def __init__(self, round_number: int) -> None:
        self.round_number = round_number
        self.steps_between_checks = STEPS_BETWEEN_CHECKS
        self.unchecked: list[tuple[int, int, list[Tensor]]] = []  # epoch, batch, `decisive` and values of a step
        self.names: tuple[str, ...] = ()

    def add(self, epoch: int, batch: int, decisive: Tensor, values: Mapping[str, Tensor]) -> None:
        """Keep a step: it has failed if the scalar `decisive` is not finite, and the message then names `values`.

        After `steps_between_checks` steps they are checked.
        """
        self.names = tuple(values)
        self.unchecked.append((epoch, batch, [decisive.detach(), *values.values()]))
        if len(self.unchecked) >= self.steps_between_checks:
            self.check()

    def check(self) -> None:
        """Raise TrainingError about the first step since the last check that has failed."""
        steps = self.unchecked
        self.unchecked = []
        if not steps:
            return
        losses = [value.detach().float() for _, _, kept in steps for value in kept]
        known = torch.stack(losses).reshape(len(steps), -1).tolist()
        for (epoch, batch, _), (decisive, *values) in zip(steps, known, strict=True):
            if not math.isfinite(decisive):
                named = zip(self.names, values, strict=True)
                details = ", ".join(f"{name} {value:.4g}" for name, value in named)
                raise TrainingError(
                    f"the loss is not finite in round {self.round_number}, epoch {epoch + 1}, batch {batch + 1} "
                    f"({details}); {REMEDY}"
                )


def check_weights(weights: Iterable[Tensor], round_number: int, epoch: int) -> None:
    """Raise TrainingError unless all are finite: the last step of an epoch may spoil them after a finite loss."""
    real = [value for value in weights if value.is_floating_point()]
    if real and not math.isfinite(torch.nn.utils.get_total_norm(real).item()):
        raise TrainingError(
            f"the weights are not finite at the end of round {round_number}, epoch {epoch + 1}; {REMEDY}"
        )
