"""Learning-rate schedules of one round; each takes the optimiser and the number of its steps."""

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from llpp.errors import expect


def one_cycle(optimizer: Optimizer, steps: int, warm_up: float = 0.1) -> LambdaLR:
    """Linear rise over the first `warm_up` share of `steps`, then half a cosine down to zero."""
    is_share = isinstance(warm_up, int | float) and 0 <= warm_up < 1
    expect(is_share, "scheduler.warm_up", warm_up, "a share of the round, 0 to 1")
    rise = max(1, round(warm_up * steps))

    def compute_factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return LambdaLR(optimizer, compute_factor)


def step_decay(optimizer: Optimizer, steps: int, at: Sequence[float], factor: float = 0.1) -> LambdaLR:
    """Multiply by `factor` after each of the shares `at` of the steps."""
    is_list = isinstance(at, Sequence) and all(isinstance(share, int | float) and 0 < share < 1 for share in at)
    expect(is_list, "scheduler.at", at, "a list of shares of the round between 0 and 1, as in [0.8]")
    return LambdaLR(optimizer, lambda step: factor ** sum(step >= round(share * steps) for share in at))


def plateau(
    optimizer: Optimizer, steps: int, factor: float, patience: int, cooldown: int, min_lr: float, head: bool
) -> ReduceLROnPlateau:
    """Multiply by `factor` when the validation loss of the task stops falling; advances with every validation.

    `head` False leaves the learning rate of all but the first parameter group, the backbone's, as it is.
    """
    floors = [min_lr if head or i == 0 else group["lr"] for i, group in enumerate(optimizer.param_groups)]
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience, cooldown=cooldown, min_lr=floors)
