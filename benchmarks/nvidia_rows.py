"""The rows of a GPU: ceilings, training, scoring, runs and core-set; a CPU can rehearse them at toy size."""

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks import measure, nets, run_step
from benchmarks.core_set import DIMENSIONS
from benchmarks.measure import Timing
from llpp.acquisition.core_set_on_device import k_centre_greedy_on_device, pick_centres
from llpp.acquisition.k_centre_on_host import k_centre_greedy
from llpp.inference import fuse_batchnorm
from llpp.inference.device_to_host import AsyncHostCopy
from llpp.settings import LoaderSettings
from llpp.training.compilation import parse_compile_setting
from llpp.training.module import LearningLossModule
from llpp.types import Batch

# variant → the setting of `compile`
VARIANTS = {
    "eager": None,
    "folded": None,
    "regional": "regional",
    "graphs": "reduce-overhead",
    "cudagraphs": "cudagraphs",  # graphs of the eager kernels, which need no compiler
}
# Convolutions of 2 stacks × 256 channels per 256-pixel image.
GFLOP = {"training": 50.0, "scoring": 16.7}
# MiB per 256-pixel image that pass through memory, counted on paper (bf16, channels_last): operation by operation,
# and with everything between two convolutions in one kernel, as compilers do it.
MIB_EAGER = {"training": 1026.0, "scoring": 355.0}
MIB_FUSED = {"training": 757.0, "scoring": 163.0}
LARGE, SMALL = 0, 1  # which of the batches
SMALL_POOL = 20_000  # points of core-set of which the picks are compared with those of the CPU


@dataclass(frozen=True)
class Sizes:
    """How large everything is: as published, or so small that a CPU rehearses all rows in seconds."""

    rehearsal: bool
    size: int  # pixels
    stacks: int
    channels: int
    depth: int
    batches: tuple[int, int]  # the large one, of which kernels are shown, and the small one
    steps: int
    points: int
    labelled: int
    budget: int
    cells: int  # side of the maps and matrices of the ceilings

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device("cpu" if self.rehearsal else "cuda")


FULL = Sizes(False, 256, 2, 256, 4, (128, 64), 50, 1_000_000, 2000, 1000, 64)
TOY = Sizes(True, 32, 1, 8, 1, (4, 2), 2, 500, 20, 20, 4)


# The first round of each trains, tests, scores and selects; the second one only trains and tests.
GPU_ROUND = (
    *run_step.GPU, *run_step.RESIDENT, "crop.size=128", "dataset.size=128", "dataset.initial=1024",
    "dataset.pool=2048", "initial=1024", "budget=256", "data.batch_size=32", "trainer.max_epochs=4",
)  # fmt: skip
TOY_ROUND = (
    *run_step.SMALL, *run_step.RESIDENT, "crop.size=32", "dataset.size=48", "dataset.initial=16", "dataset.pool=16",
    "dataset.val=4", "dataset.test=4", "initial=16", "budget=4", "data.batch_size=8", "trainer.max_epochs=1",
)  # fmt: skip


def print_row(sizes: Sizes, name: str, value: float, unit: str, **detail: Any) -> None:
    """Print one row."""
    kind = "rehearsal" if sizes.rehearsal else "nvidia"
    gpu = None if sizes.rehearsal else torch.cuda.get_device_name()
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    measure.print_result(f"{kind}_{name}", value, unit, **detail, gpu=gpu, versions=versions)


def synchronise(sizes: Sizes) -> None:
    """Wait until the device has done everything."""
    if not sizes.rehearsal:
        torch.cuda.synchronize()


def time_steps(step: Callable[[], object], sizes: Sizes, steps: int | None = None) -> Timing:
    """Return the seconds of each of many steps, by the device's clock: the host never waits between them."""
    count = steps or sizes.steps
    if sizes.rehearsal:
        return measure.time_rounds(step, count, warm_up=1)
    for _ in range(10):
        step()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]  # type: ignore[no-untyped-call]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return Timing(tuple(first.elapsed_time(second) / 1000 for first, second in pairwise(marks)))


def time_first_call(step: Callable[[], object], sizes: Sizes) -> tuple[float, Any]:
    """Return the seconds of the first step, in which everything is compiled, and its result."""
    start = time.perf_counter()
    result = step()
    synchronise(sizes)
    return time.perf_counter() - start, result


def make_module(sizes: Sizes, setting: str | None, batch: int) -> LearningLossModule:
    """Build the published network on the device; a rehearsal checks the setting of `compile`, but does not use it."""
    parse_compile_setting(setting, batch, 1)
    used = "null" if sizes.rehearsal or setting is None else setting
    shape = [f"backbone.{name}={getattr(sizes, name)}" for name in ("stacks", "channels", "depth")]
    options = (
        "backbone=hourglass",
        *shape,
        *nets.METHOD,
        f"data.eval_batch_size={batch}",
        f"training.compile={used}",
    )
    module = nets.make_module(*options, size=sizes.size)
    module.compilation.begin_job()
    return module.to(sizes.device)


def make_batch(sizes: Sizes, count: int) -> Batch:
    """Make augmented crops with a margin on the device, which resamples them."""
    data = nets.make_noise_data(count, sizes.size, LoaderSettings(batch_size=count), margin=1.5)
    batch = next(iter(data.train_dataloader()))
    return cast(Batch, {name: values.to(sizes.device) for name, values in batch.items()})


def measure_ceilings(sizes: Sizes) -> dict[str, float]:
    """Return TFLOP/s of convolutions and of a product of matrices in bf16, GB/s of a copy (read and written)."""
    side = sizes.cells
    images = 1 if sizes.rehearsal else 128

    def measure_rate(run: Callable[[], object], work: float) -> float:
        return work / time_steps(run, sizes, steps=10).best / 1e12

    rates = {}
    for name, channels, kernel in (("conv3x3_128", 128, 3), ("conv3x3_256", 256, 3), ("conv1x1_256", 256, 1)):
        maps = _draw_bf16(sizes, images, channels, side, side).to(memory_format=torch.channels_last)
        weight = _draw_bf16(sizes, channels, channels, kernel, kernel).to(memory_format=torch.channels_last)

        def convolve(maps: Tensor = maps, weight: Tensor = weight, padding: int = kernel // 2) -> Tensor:
            return functional.conv2d(maps, weight, padding=padding)

        rates[name] = measure_rate(convolve, 2.0 * kernel**2 * channels**2 * images * side**2)
    square = _draw_bf16(sizes, images * side, images * side)
    rates["matmul"] = measure_rate(lambda: square @ square, 2.0 * len(square) ** 3)
    source = torch.zeros(side**2 * 2**18, dtype=torch.uint8, device=sizes.device)
    target = torch.empty_like(source)
    rates["copy_gb_per_s"] = 1e3 * measure_rate(lambda: target.copy_(source), 2.0 * len(source))
    return rates


def _draw_bf16(sizes: Sizes, *shape: int) -> Tensor:
    return torch.randn(*shape, device=sizes.device, dtype=torch.bfloat16)


def print_ceilings(sizes: Sizes) -> None:
    """Print a row for each of them."""
    for name, value in measure_ceilings(sizes).items():
        unit = "GB/s" if name.startswith("copy") else "TFLOP/s"
        print_row(sizes, f"ceiling_{name}", value, unit)


def read_peak_gib(sizes: Sizes) -> float | None:
    """Return the most GiB that tensors have taken on the device since `reset_peak`."""
    return None if sizes.rehearsal else torch.cuda.max_memory_allocated() / 2**30


def reset_peak(sizes: Sizes) -> None:
    """Count the device's memory from here."""
    if not sizes.rehearsal:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure_training(sizes: Sizes, variant: str, size: int = LARGE) -> None:
    """Print images per second of whole training steps: resampling, network, losses, gradients, optimiser."""
    limits = measure_ceilings(sizes)
    batch = sizes.batches[size]
    reset_peak(sizes)
    module, step = make_training(sizes, variant, batch)
    first_seconds, loss = time_first_call(step, sizes)
    # All variants have the same first loss, but for roundings.
    detail = {"first_step_s": first_seconds, "first_loss": float(loss)}
    print_rate(sizes, "training", variant, batch, step, limits, **detail)
    module.loss_monitor.check()


def make_training(sizes: Sizes, variant: str, batch: int) -> tuple[LearningLossModule, Callable[[], Tensor]]:
    """Return a network and a step that trains it."""
    module = make_module(sizes, VARIANTS[variant], batch)
    autocast = nets.make_autocast(sizes.device.type, bf16=True)
    return module, nets.make_training_step(module, make_batch(sizes, batch), autocast)


def measure_first_step(sizes: Sizes, plans: int) -> None:
    """Print the seconds of the first training step, if cuDNN times so many plans of a convolution (0: all of them).

    The rate of the steps after it says what that costs. Nothing else may have looked for plans in this process.
    """
    if not sizes.rehearsal:
        torch.backends.cudnn.benchmark_limit = plans
    batch = sizes.batches[LARGE]
    _, step = make_training(sizes, "eager", batch)
    seconds, _ = time_first_call(step, sizes)
    times = time_steps(step, sizes, steps=sizes.steps // 2)
    rate = batch / times.seconds
    print_row(sizes, f"first_step_{plans or 'all'}", seconds, "s", images_per_s=rate, batch=batch, **times.notes)


def measure_scoring(sizes: Sizes, variant: str, size: int = LARGE) -> None:
    """Print images per second of a scoring pass, its results on the host."""
    limits = measure_ceilings(sizes)
    batch = sizes.batches[size]
    crops = make_batch(sizes, batch)
    expected = _predict_losses(make_module(sizes, None, batch).eval(), crops, sizes)
    reset_peak(sizes)
    module = make_module(sizes, VARIANTS[variant], batch).eval()
    if variant == "folded":
        module.backbone = fuse_batchnorm.fuse_batchnorm(module.backbone, sizes.size, sizes.device.type)
    step = make_scoring_step(module, crops, sizes)
    first_seconds, _ = time_first_call(step, sizes)
    difference = (_predict_losses(module, crops, sizes) - expected).abs().max() / expected.abs().max()
    detail = {"first_batch_s": first_seconds, "difference_to_eager": float(difference)}
    print_rate(sizes, "scoring", variant, batch, step, limits, **detail)


@torch.inference_mode()
def _predict_losses(module: LearningLossModule, batch: Batch, sizes: Sizes) -> Tensor:
    with nets.make_autocast(sizes.device.type, bf16=True):
        return module.predict_step(batch, 0)["predicted_loss"].float().clone()


def make_scoring_step(module: LearningLossModule, batch: Batch, sizes: Sizes) -> Callable[[], None]:
    """Return a step that scores a batch, and waits for the results of the batch before."""
    copies: list[AsyncHostCopy] = []

    @torch.inference_mode()
    def step() -> None:
        with nets.make_autocast(sizes.device.type, bf16=True):
            scores: dict[str, Any] = {**module.predict_step(batch, 0)}
        copies.append(AsyncHostCopy(scores))
        if len(copies) > 1:
            losses = copies.pop(0).wait_for_arrays()["predicted_loss"]
            if not np.isfinite(losses).all():
                raise RuntimeError("a predicted loss is not finite")

    return step


def print_rate(
    sizes: Sizes,
    work: str,
    variant: str,
    batch: int,
    step: Callable[[], object],
    limits: dict[str, float],
    **detail: Any,
) -> None:
    """Time a step, print its row, and for the first batch its kernels."""
    times = time_steps(step, sizes)
    rate = batch / times.seconds
    if not sizes.rehearsal:  # the work is that of the published network
        conv_limit = max(value for name, value in limits.items() if name.startswith("conv"))
        traffic = (MIB_EAGER if VARIANTS[variant] is None else MIB_FUSED)[work]
        detail |= {
            "of_conv_ceiling": rate * GFLOP[work] / 1000 / conv_limit,
            "conv_ceiling_tflops": conv_limit,
            "of_copy_ceiling_by_counted_traffic": rate * traffic * 2**20 / 1e9 / limits["copy_gb_per_s"],
            "counted_mib_per_image": traffic,
            "copy_ceiling_gb_per_s": limits["copy_gb_per_s"],
        }
    print_row(
        sizes, f"{work}_{variant}_{batch}", rate, "images/s", variant=variant, batch=batch, size=sizes.size,
        stacks=sizes.stacks, channels=sizes.channels, peak_gib=read_peak_gib(sizes), **detail, **times.notes,
    )  # fmt: skip
    if batch == sizes.batches[LARGE]:
        print_kernels(sizes, f"{work}_{variant}_{batch}", step)


def print_kernels(sizes: Sizes, name: str, step: Callable[[], object]) -> None:
    """Print the ten kernels that take most of three steps; on a CPU its operations."""
    steps = 3
    activity = ProfilerActivity.CPU if sizes.rehearsal else ProfilerActivity.CUDA
    field = "self_cpu_time_total" if sizes.rehearsal else "self_device_time_total"
    with profile(activities=[activity]) as profiler:
        for _ in range(steps):
            step()
        synchronise(sizes)
    kernels = []
    for event in profiler.key_averages():
        if event.device_type.name == sizes.device.type.upper():
            kernels.append((getattr(event, field), event.key[:90], event.count))
    total = sum(microseconds for microseconds, _, _ in kernels)
    top = []
    for microseconds, key, count in sorted(kernels, reverse=True)[:10]:
        milliseconds = round(microseconds / 1000 / steps, 4)
        share = round(microseconds / total, 4)
        top.append({"kernel": key, "ms_per_step": milliseconds, "share": share, "calls": count // steps})
    calls = sum(count for _, _, count in kernels) // steps
    print_row(sizes, f"kernels_{name}", total / 1000 / steps, "ms/step", calls_per_step=calls, top=top)


def measure_core_set(sizes: Sizes) -> None:
    """Print seconds to pick from embeddings on the device and from the host's, and compare with the CPU's picks."""
    points = _draw_features(sizes, sizes.points)
    centres = _draw_features(sizes, sizes.labelled)
    host_points = points.cpu().numpy()
    host_centres = centres.cpu().numpy()

    def pick_from_host(most: int) -> list[int]:
        return k_centre_greedy_on_device(sizes.device, host_points[:most], host_centres, sizes.budget)

    times = measure.time_rounds(lambda: pick_centres(points, centres, sizes.budget), 3, warm_up=1)
    from_host = measure.time_rounds(lambda: pick_from_host(sizes.points), 1)
    picks = pick_from_host(SMALL_POOL)
    cpu_picks = k_centre_greedy(host_points[:SMALL_POOL], host_centres, sizes.budget)
    differing = sum(pick != cpu_pick for pick, cpu_pick in zip(picks, cpu_picks, strict=True))
    print_row(
        sizes, "core_set", times.seconds, "s", points=sizes.points, labelled=sizes.labelled, budget=sizes.budget,
        dimensions=DIMENSIONS, from_host_s=from_host.seconds, compared_with_cpu=min(SMALL_POOL, sizes.points),
        differing_positions=differing, same_set=set(picks) == set(cpu_picks), **times.notes,
    )  # fmt: skip


def measure_run_step(sizes: Sizes) -> None:
    """Print the rate of a run's epochs over that of its steps, for crops that the device holds."""
    for case in run_step.TOY_CASES if sizes.rehearsal else run_step.GPU_CASES:
        run_step.measure_case(case, partial(print_row, sizes))


def measure_round(sizes: Sizes) -> None:
    """Print the seconds of the first round of `llpp run`, by what it does, and of the command with two rounds."""
    settings = TOY_ROUND if sizes.rehearsal else GPU_ROUND
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"paths.run_dir={folder}/run", f"paths.cache_dir={folder}/cache", "training.base_models=null"]
        command = [sys.executable, "-m", "llpp", "run", "rounds=2", "report.write=false", *settings, *paths]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise RuntimeError(f"llpp run ended with status {done.returncode}: {done.stderr[-400:]}")
        with Path(folder, "run/rounds.csv").open(encoding="utf-8") as file:
            first = next(csv.DictReader(file))
    parts = {name: float(value) for name, value in first.items() if name.startswith("seconds_") and value}
    print_row(
        sizes, "round", sum(parts.values()), "s", **parts, command_s=seconds, steps=int(first["steps"]),
        settings=" ".join(settings),
    )  # fmt: skip


def _draw_features(sizes: Sizes, count: int) -> Tensor:
    generator = torch.Generator(sizes.device).manual_seed(count)
    return torch.randn(count, DIMENSIONS, device=sizes.device, generator=generator).relu_()
