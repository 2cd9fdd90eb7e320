"""Regression of the loss itself: the baseline that Yoo & Kweon argue against (CVPR 2019, §3.2)."""

from torch import Tensor

from llpp.objectives.base import Objective


class MSEObjective(Objective):
    """Mean of (p - l)² over the batch; the scale of l shrinks as training goes on, which p has to follow."""

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """See `Objective.forward`."""
        error = predicted.float() - target.detach().float()
        return error.square().sum() / max(len(error), 1)
