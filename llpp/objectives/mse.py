"""Regression of the loss itself: the baseline that Yoo & Kweon argue against (CVPR 2019, §3.2)."""

from torch import Tensor

from llpp.objectives.base import Objective


class MSEObjective(Objective):
    """Mean of (p - l)² over the batch; p must follow the scale of l, which shrinks during training."""

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """See `Objective.forward`."""
        error = predicted.float() - target.detach().float()
        return error.square().sum() / max(len(error), 1)
