"""What the rows of a GPU share: sizes, a timer by CUDA events, the network with a batch on the device, ceilings."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import measure, nets
from benchmarks.measure import Timing
from llpp.data.augmentation import Augmentation
from llpp.data.crop_dataset import CropPipeline
from llpp.data.datamodule import PoolDataModule
from llpp.data.person_crop import PersonCrop
from llpp.settings import LoaderSettings
from llpp.training.compilation import parse_compile_setting
from llpp.training.module import LearningLossModule
from llpp.types import Batch

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sizes:
    """How large everything is: as published, or so small that a CPU rehearses all rows in seconds."""

    rehearsal: bool
    size: int  # pixels
    stacks: int
    channels: int
    depth: int
    batches: tuple[int, ...]  # the first is profiled
    steps: int
    points: int
    labelled: int
    budget: int
    figures: int
    cells: int  # side of the maps and matrices of the ceilings

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device("cpu" if self.rehearsal else "cuda")


FULL = Sizes(False, 256, 2, 256, 4, (128, 64), 50, 1_000_000, 2000, 1000, 512, 64)
TOY = Sizes(True, 32, 1, 8, 1, (4, 2), 2, 500, 20, 20, 8, 4)


def print_row(sizes: Sizes, name: str, value: float, unit: str, **detail: Any) -> None:
    """One line about one row."""
    kind = "rehearsal" if sizes.rehearsal else "nvidia"
    gpu = None if sizes.rehearsal else torch.cuda.get_device_name()
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    measure.print_result(f"{kind}_{name}", value, unit, **detail, gpu=gpu, versions=versions)


def time_steps(step: Callable[[], object], sizes: Sizes, steps: int | None = None) -> Timing:
    """Seconds of each of many steps, on the device's own clock: the host never waits between them."""
    count = steps or sizes.steps
    for _ in range(1 if sizes.rehearsal else 10):
        step()
    if sizes.rehearsal:
        return measure.time_variants({"": step}, count, warm_up=0)[""]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]  # type: ignore[no-untyped-call]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return Timing(tuple(a.elapsed_time(b) / 1000 for a, b in pairwise(marks)))


def time_first_call(step: Callable[[], Result], sizes: Sizes) -> tuple[float, Result]:
    """Seconds of the first step, in which everything is compiled, and what it gave."""
    start = time.perf_counter()
    found = step()
    if not sizes.rehearsal:
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def make_module(sizes: Sizes, setting: str | None, batch: int) -> LearningLossModule:
    """The published network with LearningLoss++ on the device; in a rehearsal the setting is checked, not used."""
    parse_compile_setting(setting, batch, 1)
    used = "null" if sizes.rehearsal or setting is None else setting
    names = ("backbone=hourglass", "head=multiscale_conv", "objective=kl", "pose_loss=mse", "optimizer=adam")
    shape = [f"backbone.{name}={getattr(sizes, name)}" for name in ("stacks", "channels", "depth")]
    made = nets.make_module(*names, *shape, f"data.eval_batch_size={batch}", f"compile={used}", size=sizes.size)
    made.compilation.begin_job()
    return made.to(sizes.device)


def make_batch_on_device(sizes: Sizes, count: int) -> Batch:
    """Augmented crops with a margin, which the device resamples."""
    cropping = CropPipeline(PersonCrop(sizes.size, 1.0, 1.5), Augmentation(20.0, 0.2, 0.05, 0.5))
    noise = nets.NoiseDataset(count, sizes.size)
    data = PoolDataModule(
        noise, np.ones(count, np.float32), range(count), [], cropping, LoaderSettings(batch_size=count), 0, 0
    )
    batch = next(iter(data.train_dataloader()))
    return cast(Batch, {name: value.to(sizes.device) for name, value in batch.items()})


def make_autocast(sizes: Sizes) -> torch.autocast:
    """The precision of conf/trainer/gpu.yaml."""
    return torch.autocast(sizes.device.type, dtype=torch.bfloat16)


def measure_ceilings(sizes: Sizes) -> dict[str, float]:
    """TFLOP/s of convolutions and a product of matrices in bf16, GB/s of a copy (read and written bytes)."""
    side, device, calls = sizes.cells, sizes.device, 10
    images = 128 if not sizes.rehearsal else 1

    def measure_rate(run: Callable[[], object], work: float) -> float:
        return work / min(time_steps(run, sizes, calls).rounds) / 1e12

    found = {}
    for name, channels, kernel in (("conv3x3_128", 128, 3), ("conv3x3_256", 256, 3), ("conv1x1_256", 256, 1)):
        maps = _draw_bf16(images, channels, side, side, device=device)
        weight = _draw_bf16(channels, channels, kernel, kernel, device=device)

        def convolve(maps: Tensor = maps, weight: Tensor = weight, kernel: int = kernel) -> Tensor:
            return functional.conv2d(maps, weight, padding=kernel // 2)

        found[name] = measure_rate(convolve, 2.0 * kernel**2 * channels**2 * images * side**2)
    square = (
        _draw_bf16(128 * side, 128 * side, device=device)
        if not sizes.rehearsal
        else _draw_bf16(64, 64, device=device)
    )
    found["matmul"] = measure_rate(lambda: square @ square, 2.0 * len(square) ** 3)
    source = torch.zeros(side**2 * 2**18 if not sizes.rehearsal else 2**16, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["copy_gb_per_s"] = 1e3 * measure_rate(lambda: target.copy_(source), 2.0 * len(source))
    return found


def _draw_bf16(*shape: int, device: torch.device) -> Tensor:
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.randn(*shape, device=device, dtype=torch.bfloat16).to(memory_format=layout)


def measure_limits(sizes: Sizes) -> tuple[float, float]:
    """The fastest convolution, TFLOP/s, and the copy, GB/s, of this very process."""
    found = measure_ceilings(sizes)
    return max(value for name, value in found.items() if name.startswith("conv")), found["copy_gb_per_s"]


def read_peak_gib(sizes: Sizes) -> float | None:
    """The most that tensors have taken on the device since `forget_peak`."""
    return None if sizes.rehearsal else torch.cuda.max_memory_allocated() / 2**30


def reset_peak(sizes: Sizes) -> None:
    """Begin to count anew."""
    if not sizes.rehearsal:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
