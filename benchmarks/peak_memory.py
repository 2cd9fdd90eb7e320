"""Peak memory of training and of scoring with the published network, each in a fresh process."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.measure import make_parser, print_result, read_peak_bytes, run_in_process
from benchmarks.nets import PUBLISHED, make_autocast, make_batch, make_training_step
from benchmarks.plain_loop import PLAIN, PlainLoop
from llpp.inference import fuse_batchnorm
from llpp.inference.performance import keep_memory

STEPS = 3
BATCH = 16
# `bf16_kept` has the allocator of a run on CPUs.
WAYS = {"training": ("fp32", "bf16", "bf16_kept"), "scoring": ("fp32",)}


def measure_peak(what: str, way: str, size: int) -> int:
    """Return the most bytes that this process needs for some steps, network and batch included."""
    if way.endswith("_kept") and not keep_memory():
        raise RuntimeError("the C library is not glibc, whose allocator this is about")
    before = read_peak_bytes()
    batch = make_batch(BATCH, size)
    module = PUBLISHED.make_module()
    autocast = make_autocast("cpu", way.startswith("bf16"))
    training = what == "training"
    if way == "plain":
        plain = PlainLoop(module.train(training), batch)
        del module
        run: Callable[[], object] = plain.step if training else plain.score
    elif training:
        run = make_training_step(module, batch, autocast)
    else:
        module.eval()
        module.backbone = fuse_batchnorm.fuse_batchnorm(module.backbone, size)
        run = torch.inference_mode()(partial(module.predict_step, batch, 0))
    for _ in range(STEPS):
        run()
    return read_peak_bytes() - before


def main() -> None:
    """Measure each way of training and scoring over the plain loop."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    size = parser.parse_args().size
    for what, ways in WAYS.items():
        plain = run_in_process(measure_peak, what, "plain", size)
        for way in ways:
            peak = run_in_process(measure_peak, what, way, size)
            print_result(
                f"peak_memory_{what}_{BATCH}_{way}", peak / 2**20, "MiB above imports", PLAIN, plain / peak,
                batch=BATCH, size=size, steps=STEPS,
            )  # fmt: skip


if __name__ == "__main__":
    main()
