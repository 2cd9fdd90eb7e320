"""The published network in a plain loop, the baseline of training and scoring on a CPU, and the rows over it."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.measure import Timing, print_result, time_variants
from benchmarks.nets import Net, count_parameters
from llpp.inference.performance import keep_memory
from llpp.tasks.pose.task import PoseTask
from llpp.training.module import LearningLossModule
from llpp.types import Batch

PLAIN = "plain loop, eager fp32 NCHW"
PRECISIONS = ("fp32", "bf16")


class PlainLoop:
    """The same layers with the same weights, driven as a short script would: float NCHW input, targets made before.

    It does less per step than llpp: no conversion of pixels, no encoding of targets, no check of the loss.
    """

    def __init__(self, ours: LearningLossModule, batch: Batch) -> None:
        self.net = nn.ModuleList([copy.deepcopy(ours.backbone), copy.deepcopy(cast(nn.Module, ours.head))])
        for parameter in self.net.parameters():
            parameter.data = parameter.data.contiguous()
        self.image = ours.prepare_images(batch).contiguous()
        stride = cast(int, ours.backbone.heatmap_stride)
        side = self.image.shape[-1] // stride
        codec = replace(cast(PoseTask, ours.task).codec, stride=stride)
        self.target = codec.encode(batch["joints"], batch["visible"], (side, side))
        self.optimizer = torch.optim.RMSprop(self.net.parameters(), lr=2.5e-4)

    def step(self) -> float:
        """Take one training step: squared error of both stacks, and LearningLoss++ on pairs of halves."""
        backbone, head = self.net
        output = backbone(self.image)
        per_image = (output.raw - self.target[:, None]).square().mean(dim=(1, 2, 3, 4))
        predicted = head(output.features)
        half = len(predicted) // 2
        true = per_image.detach()
        share = true[:half] / (true[:half] + true[half:])
        cross_entropy = functional.binary_cross_entropy_with_logits(predicted[:half] - predicted[half:], share)
        entropy = -torch.xlogy(share, share) - torch.xlogy(1 - share, 1 - share)
        loss = per_image.mean() + cross_entropy - entropy.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    @torch.inference_mode()
    def score(self) -> tuple[Tensor, Tensor]:
        """Return predicted losses, and joints as the highest cells."""
        backbone, head = self.net.eval()
        output = backbone(self.image)
        cells = output.raw[:, -1].flatten(2).argmax(dim=2)
        return head(output.features), cells


def measure_conv_limits(rounds: int) -> dict[str, float]:
    """Print and return GFLOP/s of a 3×3 convolution of 128 channels on 8 × 64×64 cells, by precision."""
    calls = 10
    gflop = 2e-9 * 9 * 128 * 128 * 64 * 64 * 8
    maps = torch.randn(8, 128, 64, 64).to(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def convolve(dtype: torch.dtype) -> None:
        inputs = maps.to(dtype)
        kernel = weight.to(dtype)
        for _ in range(calls):
            functional.conv2d(inputs, kernel, padding=1)

    variants = {"bf16": lambda: convolve(torch.bfloat16), "fp32": lambda: convolve(torch.float32)}
    limits = {}
    for name, timing in time_variants(variants, rounds, warm_up=2).items():
        limits[name] = calls * gflop / timing.seconds
        threads = torch.get_num_threads()
        print_result(f"conv_limit_{name}", limits[name], "GFLOP/s", threads=threads, **timing.notes)
    return limits


def measure_over_plain(
    command: str,
    net: Net,
    gflop: float,
    limits: Mapping[str, float],
    variants: Mapping[str, Callable[[], object]],
    plain: Callable[[], object],
    rounds: int,
    details: Mapping[str, Mapping[str, Any]],
) -> dict[str, Timing]:
    """Print a row of each variant, whose name begins with its precision, over the plain loop.

    The published network is then compared as shipped: llpp with the allocator of a run on CPUs, the plain loop with
    the default one. That allocator cannot be taken back, so these rounds follow the alternating ones.
    `gflop` is the work for one image; `details` go to the rows of a variant.
    """
    times = time_variants({**variants, "plain": plain}, rounds, warm_up=2)
    plain_timing = times.pop("plain")
    rows = {f"{name}{net.name}": (name, timing, "default") for name, timing in times.items()}
    if not net.name and keep_memory():
        for name, timing in time_variants(variants, rounds, warm_up=2).items():
            rows[f"{name}_as_shipped"] = (name, timing, "kept for llpp, default for the plain loop")
    for row, (name, timing, allocator) in rows.items():
        rate = net.batch / timing.seconds
        limit = limits[name[:4]]
        print_result(
            f"{command}_{row}", rate, "images/s", PLAIN, plain_timing.seconds / timing.seconds,
            of_conv_limit=rate * gflop / limit, conv_limit_gflops=limit,
            plain_images_per_s=net.batch / plain_timing.seconds, plain_quiet=plain_timing.notes["quiet"],
            batch=net.batch, size=net.size, parameters=count_parameters(net.make_module()),
            threads=torch.get_num_threads(), allocator=allocator, **details[name], **timing.notes,
        )  # fmt: skip
    return times
