"""Throughput of scoring a pool, with the published network and two small ones."""

import time
from collections.abc import Callable
from typing import Literal

import torch

from benchmarks.measure import Timing, describe_allocator, make_parser, print_result, time_variants
from benchmarks.nets import PLAIN, Net, PlainLoop, choose_nets, make_batch, make_trainer, measure_conv_limits
from llpp.inference import fuse_batchnorm
from llpp.inference.performance import keep_memory
from llpp.training.module import ImageScores, LearningLossModule
from llpp.types import Batch

SMALL, LARGE, SMALL_SIZE = 500, 4000, 64  # images of the two pools, and their side in pixels
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"fp32": "32-true", "bf16": "bf16-mixed"}
Limits = dict[str, tuple[float, Timing]]
KEPT = frozenset({"embedding"})  # what core-set asks for beside the scores


def warm_up_batchnorm(net: LearningLossModule) -> LearningLossModule:
    """The network with running statistics of BatchNorm as a little training leaves them, in evaluation."""
    net.train()
    with torch.no_grad():
        net.backbone(net.prepare_images(make_batch(8, net.crop_size)))
    return net.eval()


def make_scorer(net: Net, batch: Batch, precision: str, compiled: bool) -> tuple[Callable[[], ImageScores], float]:
    """What one batch of a scoring pass costs in the network: forward, head, losses, decoding; and seconds before."""
    chosen, start = warm_up_batchnorm(net.make_module()), time.perf_counter()
    chosen.backbone = fuse_batchnorm.fuse_batchnorm(chosen.backbone, net.size)
    if compiled:
        fuse_batchnorm.compile_for_scoring(chosen, make_trainer(precision=PRECISIONS[precision]), net.batch)
        if not isinstance(chosen.backbone, fuse_batchnorm.CompiledBackbone):
            raise RuntimeError("the network could not be compiled; is there a C++ compiler?")
    ready = time.perf_counter() - start

    @torch.inference_mode()
    def score() -> ImageScores:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            return chosen.predict_step(batch, 0)

    return score, ready


def measure_throughput(net: Net, limits: Limits, rounds: int, compiled: bool) -> None:
    """Images per second beside the plain network; and beside it as shipped, as in `training_step`."""
    batch, gflop = make_batch(net.batch, net.size), net.gflop
    plain = PlainLoop(warm_up_batchnorm(net.make_module()), batch)
    made = {
        f"{precision}_{kind}": make_scorer(net, batch, precision, kind == "frozen")
        for precision in PRECISIONS
        for kind in (("folded", "frozen") if compiled else ("folded",))
    }
    scorers = {name: score for name, (score, _) in made.items()}
    expected = plain.score()[0]
    for name in scorers:
        error = float((scorers[name]()["predicted_loss"] - expected).abs().max())
        if error > (1e-3 if name.startswith("fp32") else 3e-2) * float(expected.abs().max().clamp(min=1.0)):
            raise RuntimeError(f"predicted losses of {name} differ from those of the plain network by up to {error}")
    times = time_variants({**scorers, "plain": plain.score}, rounds, warm_up=2)
    shipped = times["plain"].seconds

    def report(row: str, name: str, timing: Timing, memory: str) -> None:
        rate, limit = net.batch / timing.seconds, limits[name[:4]][0]
        saved = times[name[:4] + "_folded"].seconds - times[name].seconds
        print_result(
            f"scoring_{row}", rate, "images/s", f"{PLAIN}, eval", shipped / timing.seconds,
            of_conv_limit=rate * gflop / limit, conv_limit_gflops=limit, plain_images_per_s=net.batch / shipped,
            plain_quiet=times["plain"].notes["quiet"], seconds_before=made[name][1],
            pays_from_images=made[name][1] / saved * net.batch if saved > 0 else None, batch=net.batch, size=net.size,
            parameters=net.parameters, threads=torch.get_num_threads(), allocator=memory, **timing.notes,
        )  # fmt: skip

    for name in scorers:
        report(f"{name}{net.name}", name, times[name], describe_allocator())
    if not net.name and describe_allocator() == "default" and keep_memory():
        for name, timing in time_variants(scorers, rounds, warm_up=2).items():
            report(f"{name}_as_shipped", name, timing, "kept for llpp, default for the plain network")


def main() -> None:
    """Measure the limit of the machine, then the networks, the small ones first."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--compile-small", action="store_true", help="the small networks too, for two minutes more")
    given = parser.parse_args()
    limits = measure_conv_limits(given.rounds)
    for net in reversed(choose_nets(given)):
        measure_throughput(net, limits, given.rounds, given.compile_small or not net.name)


if __name__ == "__main__":
    main()
