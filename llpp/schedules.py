"""Learning-rate schedules over the steps of one round."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def one_cycle(optimizer: Optimizer, steps: int, warm_up: float = 0.1) -> LambdaLR:
    """Linear rise over the first `warm_up` share of `steps`, then half a cosine down to zero."""
    rise = max(1, round(warm_up * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return LambdaLR(optimizer, factor)
