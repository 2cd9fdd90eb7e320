"""Training throughput of the published network on a CPU: llpp in fp32 and bf16, and a plain loop."""

import argparse
from collections.abc import Callable

import torch

from benchmarks.measure import Timing, allocator, alternate, arguments, emit
from benchmarks.nets import GFLOP_TRAINING, PLAIN, Plain, conv_limits, published, resident_batch
from llpp.types import Batch


def llpp_step(size: int, batch: Batch, precision: torch.dtype) -> Callable[[], float]:
    """A training step of the module as Lightning takes it: autocast around the forward pass, Adam as configured."""
    module = published(size).train()
    optimizer = module.configure_optimizers()

    def step() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return float(loss.detach())

    return step


def check(first: dict[str, float]) -> None:
    """Raise RuntimeError unless all variants begin with the same loss: the same network on the same data.

    BatchNorm over the few cells of the coarsest maps magnifies roundings, so equal means equal to two digits.
    """
    for name, tolerance in (("fp32", 1e-2), ("bf16", 5e-2)):
        if abs(first[name] - first["plain"]) > tolerance * abs(first["plain"]):
            raise RuntimeError(f"the first loss of {name} is {first[name]}, that of the plain loop {first['plain']}")


def options() -> argparse.Namespace:
    """Command line."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    parser.add_argument("--batch", type=int, default=8, help="images")
    chosen: argparse.Namespace = parser.parse_args()
    return chosen


def report(
    name: str, times: dict[str, Timing], limit: float, first: dict[str, float], given: argparse.Namespace
) -> None:
    """One line about one variant."""
    rate = given.batch / times[name].seconds
    work = GFLOP_TRAINING * (given.size / 256) ** 2
    emit(
        f"training_step_{name}", rate, "images/s", f"{PLAIN}, RMSprop", times["plain"].seconds / times[name].seconds,
        of_conv_limit=rate * work / limit, conv_limit_gflops=limit,
        plain_images_per_s=given.batch / times["plain"].seconds,
        plain_quiet=times["plain"].notes["quiet"], first_loss=first[name],
        first_loss_plain=first["plain"],
        batch=given.batch, size=given.size, threads=torch.get_num_threads(), allocator=allocator(),
        **times[name].notes,
    )  # fmt: skip


def main() -> None:
    """Measure the limit of the machine, then the variants in turn."""
    given = options()
    limits = conv_limits(given.rounds)
    batch = resident_batch(given.batch, given.size)
    variants = {
        "fp32": llpp_step(given.size, batch, torch.float32),
        "bf16": llpp_step(given.size, batch, torch.bfloat16),
        "plain": Plain(published(given.size).train(), batch).step,
    }
    first = {name: step() for name, step in variants.items()}
    check(first)
    times = alternate(variants, given.rounds, warm_up=1)
    for name, (limit, timing) in limits.items():
        emit(f"conv_limit_{name}", limit, "GFLOP/s", threads=torch.get_num_threads(), **timing.notes)
    for name in ("fp32", "bf16"):
        report(name, times, limits[name][0], first, given)


if __name__ == "__main__":
    main()
