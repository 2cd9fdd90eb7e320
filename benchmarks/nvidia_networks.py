"""Training and scoring throughput of the published network on a GPU."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.nvidia_device import (
    Sizes,
    make_autocast,
    make_batch_on_device,
    make_module,
    measure_limits,
    print_row,
    read_peak_gib,
    reset_peak,
    time_first_call,
    time_steps,
)
from llpp.inference import fuse_batchnorm
from llpp.inference.device_to_host import AsyncHostCopy
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


def measure_training(sizes: Sizes, variant: str) -> None:
    """Images per second of whole training steps: resampling, network, losses, gradients, optimiser."""
    limit = measure_limits(sizes)
    for batch in sizes.batches:
        reset_peak(sizes)
        net = make_module(sizes, VARIANTS[variant], batch).train()
        step = make_training_step(net, make_batch_on_device(sizes, batch), sizes)
        compiled, loss = time_first_call(step, sizes)  # the same with all variants, but for roundings
        first_loss = float(loss)
        times = time_steps(step, sizes)
        net.watch.check()
        note = _describe_rates(sizes, batch, times.seconds, limit, GFLOP_TRAINING, TRAFFIC_TRAINING[variant in FUSED])
        note |= {"first_step_s": compiled, "first_loss": first_loss, "peak_gib": read_peak_gib(sizes), **times.notes}
        print_row(sizes, f"training_{variant}_{batch}", batch / times.seconds, "images/s", variant=variant, **note)
        if batch == sizes.batches[0]:
            _print_kernels(sizes, f"training_{variant}_{batch}", step)
        del net, step


def make_training_step(net: LearningLossModule, batch: Batch, sizes: Sizes) -> Callable[[], Tensor]:
    """A step in Lightning's order; it gives the loss."""
    optimizer = net.optimizer_factory(net.parameters())

    def step() -> Tensor:
        with make_autocast(sizes):
            loss = net.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    return step


def measure_scoring(sizes: Sizes, variant: str) -> None:
    """Images per second of a scoring pass, its results on the host."""
    limit = measure_limits(sizes)
    for batch in sizes.batches:
        crops = make_batch_on_device(sizes, batch)
        expected = _predict_losses(make_module(sizes, None, batch).eval(), crops, sizes)
        reset_peak(sizes)
        net = make_module(sizes, VARIANTS.get(variant), batch).eval()
        if variant == "folded":
            net.backbone = fuse_batchnorm.fuse_batchnorm(net.backbone, sizes.size)
        score = make_scoring_step(net, crops, sizes)
        compiled, _ = time_first_call(score, sizes)
        difference = float((_predict_losses(net, crops, sizes) - expected).abs().max() / expected.abs().max())
        times = time_steps(score, sizes)
        note = _describe_rates(sizes, batch, times.seconds, limit, GFLOP_FORWARD, TRAFFIC_SCORING[variant in FUSED])
        note |= {
            "first_batch_s": compiled,
            "difference_to_eager": difference,
            "peak_gib": read_peak_gib(sizes),
            **times.notes,
        }
        print_row(sizes, f"scoring_{variant}_{batch}", batch / times.seconds, "images/s", variant=variant, **note)
        if batch == sizes.batches[0]:
            _print_kernels(sizes, f"scoring_{variant}_{batch}", score)
        del net, score


@torch.inference_mode()
def _predict_losses(net: LearningLossModule, batch: Batch, sizes: Sizes) -> Tensor:
    with make_autocast(sizes):
        return net.predict_step(batch, 0)["predicted_loss"].float().clone()


def make_scoring_step(net: LearningLossModule, batch: Batch, sizes: Sizes) -> Callable[[], object]:
    """Judge a batch, and take over the results of the one before."""
    arriving: list[AsyncHostCopy] = []

    @torch.inference_mode()
    def score() -> object:
        with make_autocast(sizes):
            judged: dict[str, Any] = {**net.predict_step(batch, 0)}
        arriving.append(AsyncHostCopy(judged))
        found = arriving.pop(0).wait_for_arrays() if len(arriving) > 1 else {}
        if not all(map(math.isfinite, found.get("predicted_loss", ()))):
            raise RuntimeError("a predicted loss is not finite")
        return found

    return score


def _describe_rates(
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


def _print_kernels(sizes: Sizes, name: str, step: Callable[[], object]) -> None:
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
    print_row(sizes, f"kernels_{name}", total / 3000, "ms/step", calls_per_step=calls, top=kernels)
