"""BatchNorm whose statistics are those of the global batch, on every kind of device.

torch's own does this for GPUs only; on CPUs it would make a run with two processes another experiment.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llpp.distributed import collectives


class _AllGather(torch.autograd.Function):
    """(2, C) of each rank as (R, 2, C) on all; the gradients of all ranks' losses add up."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(collectives.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[collectives.get_rank()]


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """(B, C, …) → the same, normalised with mean and variance over the batches of all ranks."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, …), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """As nn.BatchNorm2d; in evaluation, and with one rank, it is that."""
        if not self.training or collectives.get_world_size() == 1:
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        others = [d for d in range(input.dim()) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(input.dim())]
        number = input.numel() // input.shape[1] * collectives.get_world_size()  # ranks have batches of one size
        variances, means = _gather_statistics(torch.stack(torch.var_mean(values, others, correction=0))).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)  # Chan et al. 1979, for parts of one size
        centred = values - mean.view(shape)
        self._update_running_stats(mean.detach(), variance.detach(), number)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = normal.to(input.dtype)
        return result

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor, number: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (number / max(1, number - 1)), share)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _gather_statistics(own: Tensor) -> Tensor:
    found: Tensor = _AllGather.apply(own)  # type: ignore[no-untyped-call]
    return found


def synchronise(module: nn.Module, cuda: bool) -> None:
    """Let every BatchNorm inside `module` use the statistics of the global batch; weights and their names stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, _convert_batchnorm(child, cuda))
        else:
            synchronise(child, cuda)


def _convert_batchnorm(norm: nn.modules.batchnorm._BatchNorm, cuda: bool) -> nn.Module:
    if cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return converted
    shared = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, value in (*norm.named_parameters(), *norm.named_buffers()):
        setattr(shared, name, value)
    return shared.train(norm.training)
