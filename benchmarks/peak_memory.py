"""Peak memory of training and of scoring with the published network, each in a process of its own."""

import os
import subprocess
import sys

import torch

from benchmarks.measure import make_parser, print_result, read_peak_bytes
from benchmarks.nets import PLAIN, PUBLISHED, PlainLoop, make_batch, make_optimizer
from llpp.inference import fuse_batchnorm
from llpp.inference.performance import keep_memory

STEPS = 3
CELLS = (("training", 4), ("training", 16), ("scoring", 16))  # and images in a batch
WAYS = ("plain", "fp32", "bf16", "bf16_kept")  # the last with the allocator of a run on CPUs


def measure_peak(what: str, way: str, batch_size: int, size: int) -> int:
    """Bytes that this process needs at most for some steps, network and batch included."""
    if way.endswith("_kept") and not keep_memory():
        raise RuntimeError("the C library is not glibc, whose allocator this is about")
    before = read_peak_bytes()
    batch, net = make_batch(batch_size, size), PUBLISHED.make_module()
    if way == "plain":
        plain = PlainLoop(net.train(what == "training"), batch)
        del net
        for _ in range(STEPS):
            (plain.step if what == "training" else plain.score)()
        return read_peak_bytes() - before
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=way.startswith("bf16"))
    if what == "training":
        adam = make_optimizer(net.train())
        for _ in range(STEPS):
            with bf16:
                loss = net.training_step(batch, 0)
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
        return read_peak_bytes() - before
    net.eval().backbone = fuse_batchnorm.fuse_batchnorm(net.backbone, size)
    for _ in range(STEPS):
        with torch.inference_mode(), bf16:
            net.predict_step(batch, 0)
    return read_peak_bytes() - before


def main() -> None:
    """Start a process for each cell, or be one of them."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    parser.add_argument("--cell", nargs=3, help="only measure one: training or scoring, how, and images in a batch")
    given = parser.parse_args()
    if given.cell:
        what, way, batch = given.cell
        print(measure_peak(what, way, int(batch), given.size))
        return
    command = [sys.executable, "-m", "benchmarks.peak_memory", "--size", str(given.size), "--cell"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    for what, batch in CELLS:
        peaks = {}
        for way in WAYS:
            done = subprocess.run(
                [*command, what, way, str(batch)], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            peaks[way] = int(done.stdout.split()[-1])
        for way in WAYS[1:]:
            print_result(
                f"peak_memory_{what}_{batch}_{way}", peaks[way] / 2**20, "MiB above imports", PLAIN,
                peaks["plain"] / peaks[way], share_of_plain=peaks[way] / peaks["plain"],
                plain_mib=peaks["plain"] / 2**20, batch=batch, size=given.size, steps=STEPS,
            )  # fmt: skip


if __name__ == "__main__":
    main()
