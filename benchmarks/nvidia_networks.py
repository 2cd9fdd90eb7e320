"""Training and scoring throughput of the published network on a GPU."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.nvidia_device import (
    Sizes,
    batch_on_device,
    first_call,
    forget_peak,
    limits,
    mixed,
    module,
    peak_gib,
    tell,
    timed,
)
from llpp.inference import fuse_batchnorm
from llpp.inference.device_to_host import Arriving
from llpp.training.module import LearningLossModule
from llpp.types import Batch

VARIANTS = {
    "eager": None,
    "regional": "regional",
    "whole": "inductor",
    "graphs": "reduce-overhead",
    "eager_graphs": "cudagraphs",
}
# MiB per 256-pixel image that pass through memory, counted on paper (bf16, channels_last): operation by operation,
# and with all that lies between two convolutions in one
GFLOP_FORWARD, GFLOP_TRAINING = 16.7, 50.0  # per 256-pixel image, convolutions of 2 stacks × 256 channels
TRAFFIC_TRAINING, TRAFFIC_SCORING = (1026.0, 757.0), (355.0, 163.0)
FUSED = {"regional", "whole", "graphs"}


def training(sizes: Sizes, variant: str) -> None:
    """Images per second of whole training steps: resampling, network, losses, gradients, optimiser."""
    limit = limits(sizes)
    for batch in sizes.batches:
        forget_peak(sizes)
        net = module(sizes, VARIANTS[variant], batch).train()
        step = training_step(net, batch_on_device(sizes, batch), sizes)
        compiled, loss = first_call(step, sizes)  # the same with all variants, but for roundings
        first_loss = float(loss)
        times = timed(step, sizes)
        net.watch.look()
        note = _notes(sizes, batch, times.seconds, limit, GFLOP_TRAINING, TRAFFIC_TRAINING[variant in FUSED])
        note |= {"first_step_s": compiled, "first_loss": first_loss, "peak_gib": peak_gib(sizes), **times.notes}
        tell(sizes, f"training_{variant}_{batch}", batch / times.seconds, "images/s", variant=variant, **note)
        if batch == sizes.batches[0]:
            _tell_kernels(sizes, f"training_{variant}_{batch}", step)
        del net, step


def training_step(net: LearningLossModule, batch: Batch, sizes: Sizes) -> Callable[[], Tensor]:
    """A step in Lightning's order; it gives the loss."""
    optimizer = net.optimizer_factory(net.parameters())

    def step() -> Tensor:
        with mixed(sizes):
            loss = net.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    return step


def scoring(sizes: Sizes, variant: str) -> None:
    """Images per second of a scoring pass, its results on the host."""
    limit = limits(sizes)
    for batch in sizes.batches:
        crops = batch_on_device(sizes, batch)
        expected = _predicted(module(sizes, None, batch).eval(), crops, sizes)
        forget_peak(sizes)
        net = module(sizes, VARIANTS.get(variant), batch).eval()
        if variant == "folded":
            net.backbone = fuse_batchnorm.folded(net.backbone, sizes.size)
        score = scoring_step(net, crops, sizes)
        compiled, _ = first_call(score, sizes)
        difference = float((_predicted(net, crops, sizes) - expected).abs().max() / expected.abs().max())
        times = timed(score, sizes)
        note = _notes(sizes, batch, times.seconds, limit, GFLOP_FORWARD, TRAFFIC_SCORING[variant in FUSED])
        note |= {
            "first_batch_s": compiled,
            "difference_to_eager": difference,
            "peak_gib": peak_gib(sizes),
            **times.notes,
        }
        tell(sizes, f"scoring_{variant}_{batch}", batch / times.seconds, "images/s", variant=variant, **note)
        if batch == sizes.batches[0]:
            _tell_kernels(sizes, f"scoring_{variant}_{batch}", score)
        del net, score


@torch.inference_mode()
def _predicted(net: LearningLossModule, batch: Batch, sizes: Sizes) -> Tensor:
    with mixed(sizes):
        return net.predict_step(batch, 0)["predicted_loss"].float().clone()


def scoring_step(net: LearningLossModule, batch: Batch, sizes: Sizes) -> Callable[[], object]:
    """Judge a batch, and take over the results of the one before."""
    arriving: list[Arriving] = []

    @torch.inference_mode()
    def score() -> object:
        with mixed(sizes):
            judged: dict[str, Any] = {**net.predict_step(batch, 0)}
        arriving.append(Arriving(judged))
        found = arriving.pop(0).arrays() if len(arriving) > 1 else {}
        if not all(map(math.isfinite, found.get("predicted_loss", ()))):
            raise RuntimeError("a predicted loss is not finite")
        return found

    return score


def _notes(
    sizes: Sizes, batch: int, seconds: float, limit: tuple[float, float], gflop: float, traffic: float
) -> dict[str, Any]:
    """Rates beside what this process has seen convolutions and copies do; the work is that of the published net."""
    shape = {"batch": batch, "size": sizes.size, "stacks": sizes.stacks, "channels": sizes.channels}
    if sizes.rehearsal:
        return shape
    rate = batch / seconds
    return {
        **shape, "of_conv_ceiling": rate * gflop / 1000 / limit[0], "conv_ceiling_tflops": limit[0],
        "of_copy_ceiling_by_counted_traffic": rate * traffic * 2**20 / 1e9 / limit[1],
        "counted_mib_per_image": traffic, "copy_ceiling_gb_per_s": limit[1],
    }  # fmt: skip


def _tell_kernels(sizes: Sizes, name: str, step: Callable[[], object]) -> None:
    """The ten kernels that take most of three steps; on a CPU its operations."""
    activities = [ProfilerActivity.CPU] if sizes.rehearsal else [ProfilerActivity.CUDA]
    with profile(activities=activities) as seen:
        for _ in range(3):
            step()
        if not sizes.rehearsal:
            torch.cuda.synchronize()
    wanted = sizes.device.type.upper()
    field = "self_cpu_time_total" if sizes.rehearsal else "self_device_time_total"
    times = {e.key: (getattr(e, field), e.count) for e in seen.key_averages() if e.device_type.name == wanted}
    total = sum(time for time, _ in times.values())
    top = sorted(times.items(), key=lambda item: -item[1][0])[:10]
    kernels = [
        {"kernel": key[:90], "ms_per_step": round(time / 3000, 4), "share": round(time / total, 4), "calls": n // 3}
        for key, (time, n) in top
    ]
    calls = sum(n for _, n in times.values()) // 3
    tell(sizes, f"kernels_{name}", total / 3000, "ms/step", calls_per_step=calls, top=kernels)
