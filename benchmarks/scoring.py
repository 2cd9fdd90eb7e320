"""Throughput of scoring a pool on a CPU, with the published network: BatchNorm fused, and compiled as well."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import parse_net_options, print_result
from benchmarks.nets import PUBLISHED, Net, make_batch, make_trainer
from benchmarks.plain_loop import PRECISIONS, PlainLoop, measure_conv_limits, measure_over_plain
from llpp.inference import fuse_batchnorm
from llpp.training.module import LearningLossModule
from llpp.types import Batch

MAX_DIFFERENCE = {"fp32": 1e-3, "bf16": 3e-2}  # of predicted losses, as a share of the largest


def warm_up_batchnorm(module: LearningLossModule) -> LearningLossModule:
    """Give BatchNorm running statistics such as a little training leaves, and switch to evaluation."""
    module.train()
    with torch.no_grad():
        module.backbone(module.prepare_images(make_batch(8, module.images.size)))
    return module.eval()


def make_scorer(
    net: Net, batch: Batch, precision: str, compiled: bool
) -> tuple[Callable[[], dict[str, Tensor]], float]:
    """Return the work of a scoring pass for one batch, and the seconds that preparing it took."""
    trainer = make_trainer("bf16-mixed" if precision == "bf16" else "32-true")
    module = warm_up_batchnorm(net.make_module())
    start = time.perf_counter()
    module.backbone = fuse_batchnorm.fuse_batchnorm(module.backbone, net.size)
    if compiled:
        fuse_batchnorm.compile_for_scoring(module, trainer, net.batch)
        if not isinstance(module.backbone, fuse_batchnorm.CompiledBackbone):
            raise RuntimeError("the network could not be compiled; is there a C++ compiler?")
    seconds = time.perf_counter() - start

    # Compiling another network forgets this one, which is then compiled again: with constant weights only inside
    # this setting, and once only if the precision is set as Lightning sets it.
    @torch.inference_mode()
    def score() -> dict[str, Tensor]:
        with torch._inductor.config.patch(freezing=compiled), trainer.precision_plugin.forward_context():
            return module.predict_step(batch, 0)

    return score, seconds


def main() -> None:
    """Measure the limit of the machine, then all variants; fail if their predicted losses differ."""
    options = parse_net_options(__doc__, rounds=7)
    net = replace(PUBLISHED, size=options.size, batch=options.batch)
    limits = measure_conv_limits(options.rounds)
    batch = net.make_batch()
    plain = PlainLoop(warm_up_batchnorm(net.make_module()), batch)
    expected = plain.score()[0]

    scorers = {}
    details: dict[str, dict[str, Any]] = {}
    for precision in PRECISIONS:
        tolerance = MAX_DIFFERENCE[precision] * float(expected.abs().max().clamp(min=1.0))
        for kind in ("folded", "frozen"):
            name = f"{precision}_{kind}"
            scorers[name], seconds = make_scorer(net, batch, precision, kind == "frozen")
            difference = float((scorers[name]()["predicted_loss"] - expected).abs().max())
            if difference > tolerance:
                raise RuntimeError(f"predicted losses of {name} differ from the plain network's by {difference}")
            details[name] = {"seconds_before": seconds}
    times = measure_over_plain(
        "scoring", net, net.count_gflop(), limits, scorers, plain.score, options.rounds, details
    )
    for precision in PRECISIONS:
        saved = times[f"{precision}_folded"].seconds - times[f"{precision}_frozen"].seconds
        if saved > 0:
            images = details[f"{precision}_frozen"]["seconds_before"] / saved * net.batch
            print_result(f"scoring_{precision}_frozen_pays_from", images, "images")


if __name__ == "__main__":
    main()
