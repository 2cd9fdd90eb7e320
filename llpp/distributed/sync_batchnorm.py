"""BatchNorm with the statistics of the global batch, on every kind of device.

torch has this for GPUs only. On CPUs, statistics per rank would make a run with two processes a different experiment.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llpp.distributed import collectives


class _AllGather(torch.autograd.Function):
    """Gathers (2, C) of each of R ranks as (R, 2, C) on all; the gradients of all ranks' losses add up."""

    @staticmethod
    def forward(_: Any, statistics: Tensor) -> Tensor:
        parts = [torch.empty_like(statistics) for _ in range(collectives.get_world_size())]
        dist.all_gather(parts, statistics.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[collectives.get_rank()]


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Normalises (B, C, …) with mean and variance over the batches of all ranks, which are of one size."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, …), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise like nn.BatchNorm2d, and by its code in evaluation and with one rank."""
        if not self.training or collectives.get_world_size() == 1:
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        all_but_channels = [dim for dim in range(input.dim()) if dim != 1]
        channel_shape = [1] * input.dim()
        channel_shape[1] = -1
        local = torch.stack(torch.var_mean(values, all_but_channels, correction=0))
        variances, means = _gather_statistics(local).unbind(1)
        # Chan et al. 1979, for parts of one size.
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        centred = values - mean.view(channel_shape)
        count = input.numel() // input.shape[1] * collectives.get_world_size()
        self._update_running_stats(mean.detach(), variance.detach(), count)
        normalised = centred * (variance + self.eps).rsqrt().view(channel_shape)
        if self.affine:
            normalised = normalised * self.weight.view(channel_shape) + self.bias.view(channel_shape)
        result: Tensor = normalised.to(input.dtype)
        return result

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Take the statistics over `count` values per channel into the running ones."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:
            # Then running statistics are the plain average over all batches.
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), momentum)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _gather_statistics(statistics: Tensor) -> Tensor:
    """Gather the (2, C) statistics of R ranks (R, 2, C), outside of compiled code."""
    gathered: Tensor = _AllGather.apply(statistics)  # type: ignore[no-untyped-call]
    return gathered


def synchronise(module: nn.Module, cuda: bool) -> None:
    """Replace every BatchNorm inside `module` by one with the statistics of the global batch.

    Weights and their names stay.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, _convert_batchnorm(child, cuda))
        else:
            synchronise(child, cuda)


def _convert_batchnorm(norm: nn.modules.batchnorm._BatchNorm, cuda: bool) -> nn.Module:
    """Return a BatchNorm with the parameters and buffers of `norm` and the statistics of the global batch."""
    if cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return converted
    shared = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, value in (*norm.named_parameters(), *norm.named_buffers()):
        setattr(shared, name, value)
    return shared.train(norm.training)
