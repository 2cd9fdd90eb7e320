"""Losses and weights that are not finite: noted on the device, read by the host only now and then.

Reading one number makes the host wait until the device has done all that was queued before it.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from llpp.errors import TrainingError

REMEDY = "lower optimizer.lr or set trainer.gradient_clip_val, and start the same command again"


class NonFiniteLossMonitor:
    """The losses of the last few training steps, which nobody has looked at yet.

    A step after one that failed has failed too, so nothing is lost by looking late, as long as somebody looks before
    anything is saved.
    """

    def __init__(self, round_number: int) -> None:
        self.round_number, self.every = round_number, 10
        self.unseen: list[tuple[int, int, Tensor]] = []
        self.names: tuple[str, ...] = ()

    def add(self, epoch: int, batch: int, decisive: Tensor, values: Mapping[str, Tensor]) -> None:
        """Note a step: it has failed if the scalar `decisive` is not finite; `values` are told then.

        Every `every` steps this looks.
        """
        self.names = tuple(values)
        self.unseen.append((epoch, batch, torch.stack([v.detach().float() for v in (decisive, *values.values())])))
        if len(self.unseen) >= self.every:
            self.check()

    def check(self) -> None:
        """Raise TrainingError about the first step since the last look that has failed."""
        steps, self.unseen = self.unseen, []
        if not steps:
            return
        known = torch.stack([values for _, _, values in steps]).tolist()
        for (epoch, batch, _), (decisive, *values) in zip(steps, known, strict=True):
            if not math.isfinite(decisive):
                told = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names, values, strict=True))
                raise TrainingError(
                    f"the loss is not finite in round {self.round_number}, epoch {epoch}, batch {batch} "
                    f"({told}); {REMEDY}"
                )


def check_weights(weights: Iterable[Tensor], round_number: int, epoch: int) -> None:
    """Raise TrainingError unless all are finite: the last step of an epoch may spoil them after a finite loss."""
    real = [value for value in weights if value.is_floating_point()]
    if real and not math.isfinite(torch.nn.utils.get_total_norm(real).item()):
        raise TrainingError(f"the weights are not finite at the end of round {round_number}, epoch {epoch}; {REMEDY}")
