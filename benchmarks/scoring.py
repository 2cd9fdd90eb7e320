"""Throughput of scoring a pool with the published network, and how memory grows with the pool."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from benchmarks.measure import Timing, allocator, alternate, arguments, emit, peak_bytes
from benchmarks.nets import GFLOP_FORWARD, PLAIN, Plain, conv_limits, module, pool, published, resident_batch, trainer
from llpp.module import Judgement, LearningLossModule
from llpp.scoring import evaluate
from llpp.types import Batch

SMALL, LARGE, SMALL_SIZE = 500, 4000, 64  # images of the two pools, and their side in pixels
KEPT = frozenset({"embedding"})  # what core-set asks for beside the scores


def scorer(net: LearningLossModule, batch: Batch, precision: torch.dtype) -> Callable[[], Judgement]:
    """What one batch of a scoring pass costs in the network: forward, head, losses, decoding."""

    @torch.inference_mode()
    def score() -> Judgement:
        net.eval()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            return net.predict_step(batch, 0)

    return score


def throughput(given: argparse.Namespace) -> None:
    """Images per second beside the plain network."""
    limits = conv_limits(given.rounds)
    batch, net = resident_batch(given.batch, given.size), published(given.size)
    plain = Plain(net, batch)
    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    scorers = {name: scorer(net, batch, precision) for name, precision in precisions.items()}
    expected = plain.score()[0]
    error = float((scorers["fp32"]()["predicted_loss"] - expected).abs().max())
    if error > 1e-3 * float(expected.abs().max().clamp(min=1.0)):
        raise RuntimeError(f"predicted losses differ from those of the plain network by up to {error}")
    times = alternate({**scorers, "plain": plain.score}, given.rounds, warm_up=2)
    for name in scorers:
        report(name, times, limits[name][0], given)


def report(name: str, times: dict[str, Timing], limit: float, given: argparse.Namespace) -> None:
    """One line about one variant."""
    rate = given.batch / times[name].seconds
    work = GFLOP_FORWARD * (given.size / 256) ** 2
    emit(
        f"scoring_{name}", rate, "images/s", f"{PLAIN}, eval", times["plain"].seconds / times[name].seconds,
        of_conv_limit=rate * work / limit, conv_limit_gflops=limit,
        plain_images_per_s=given.batch / times["plain"].seconds,
        plain_quiet=times["plain"].notes["quiet"], batch=given.batch, size=given.size,
        threads=torch.get_num_threads(), allocator=allocator(), **times[name].notes,
    )  # fmt: skip


def peak_memory(count: int) -> int:
    """Bytes this process has held at most, after scoring a pool of `count` images with a small network."""
    net = module("backbone=hourglass_small", size=SMALL_SIZE)
    result = evaluate(trainer(), net, pool(count, SMALL_SIZE, 64), np.arange(count), KEPT)
    if len(result.columns["predicted_loss"]) != count:
        raise RuntimeError("not every image was scored")
    return peak_bytes()


def memory(repeats: int) -> None:
    """Growth per image between two pools, each scored in fresh processes."""

    def fresh(count: int) -> int:
        command = [sys.executable, "-m", "benchmarks.scoring", "--peak", str(count)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # less noise
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return int(done.stdout.split()[-1])

    pairs = [(fresh(SMALL), fresh(LARGE)) for _ in range(repeats)]
    each = list(zip(*pairs, strict=True))
    small, large = (median(values) for values in each)
    noise = max(max(values) - min(values) for values in each)
    channels = 32  # of hourglass_small's penultimate map
    emit(
        "scoring_memory_growth", (large - small) / (LARGE - SMALL), "bytes per extra image",
        pools=[SMALL, LARGE], peak_mib=[round(small / 2**20, 1), round(large / 2**20, 1)],
        repeats=repeats, kept=sorted(KEPT), noise_per_extra_image=noise / (LARGE - SMALL),
        bytes_of_scores=4 * (3 + channels), bytes_of_one_crop=3 * SMALL_SIZE**2, allocator=allocator(),
        note="growth includes the records of the pool and its list of rows",
    )  # fmt: skip


def main() -> None:
    """Measure both, or be one of the processes whose memory is measured."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes per pool")
    parser.add_argument("--peak", type=int, help="only score a pool of so many images and print the peak memory")
    given = parser.parse_args()
    if given.peak:
        print(peak_memory(given.peak))
        return
    throughput(given)
    if allocator() == "default":
        memory(given.repeats)


if __name__ == "__main__":
    main()
