"""Training throughput on a CPU: llpp in fp32 and bf16, and a plain loop; the published network and two small ones."""

import argparse
from collections.abc import Callable

import torch

from benchmarks.measure import Timing, describe_allocator, make_parser, print_result, time_variants
from benchmarks.nets import PLAIN, Net, PlainLoop, choose_nets, make_batch, make_optimizer, measure_conv_limits
from llpp.inference.performance import keep_memory
from llpp.types import Batch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
Limits = dict[str, tuple[float, Timing]]


def make_llpp_step(net: Net, batch: Batch, precision: torch.dtype) -> Callable[[], float]:
    """A training step of the module as Lightning takes it: autocast around the forward pass, Adam as configured."""
    module = net.make_module().train()
    adam = make_optimizer(module)

    def step() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            loss = module.training_step(batch, 0)
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        return float(loss.detach())

    return step


def check_first_losses(first: dict[str, float]) -> None:
    """Raise RuntimeError unless all variants begin with the same loss: the same network on the same data.

    BatchNorm over the few cells of the coarsest maps magnifies roundings, so equal means equal to two digits.
    """
    for name, tolerance in (("fp32", 1e-2), ("bf16", 5e-2)):
        if abs(first[name] - first["plain"]) > tolerance * abs(first["plain"]):
            raise RuntimeError(f"the first loss of {name} is {first[name]}, that of the plain loop {first['plain']}")


def measure_net(net: Net, limits: Limits, rounds: int) -> None:
    """The rows of one network; the published one's are also compared with a plain loop as shipped.

    For that, the plain loop has the default allocator and llpp's step the one that a run on CPUs has; it cannot be
    taken back, so these steps follow the alternating ones.
    """
    batch, gflop = make_batch(net.batch, net.size), 3 * net.gflop
    variants = {name: make_llpp_step(net, batch, precision) for name, precision in PRECISIONS.items()}
    variants["plain"] = PlainLoop(net.make_module().train(), batch).step
    first = {name: step() for name, step in variants.items()}
    check_first_losses(first)
    times = time_variants(variants, rounds, warm_up=1)

    def report(row: str, name: str, timing: Timing, used: str) -> None:
        rate, limit = net.batch / timing.seconds, limits[name][0]
        print_result(
            f"training_step_{row}", rate, "images/s", f"{PLAIN}, RMSprop", times["plain"].seconds / timing.seconds,
            of_conv_limit=rate * gflop / limit, conv_limit_gflops=limit,
            plain_images_per_s=net.batch / times["plain"].seconds, plain_quiet=times["plain"].notes["quiet"],
            first_loss=first[name], first_loss_plain=first["plain"], batch=net.batch, size=net.size,
            parameters=net.parameters, threads=torch.get_num_threads(), allocator=used, **timing.notes,
        )  # fmt: skip

    for name in PRECISIONS:
        report(f"{name}{net.name}", name, times[name], describe_allocator())
    if not net.name and describe_allocator() == "default" and keep_memory():
        kept = time_variants({name: variants[name] for name in PRECISIONS}, rounds, warm_up=2)
        for name, timing in kept.items():
            report(f"{name}_as_shipped", name, timing, "kept for llpp, default for the plain loop")


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    parser.add_argument("--batch", type=int, default=8, help="images")
    chosen: argparse.Namespace = parser.parse_args()
    return chosen


def main() -> None:
    """Measure the limit of the machine, then the variants in turn, the small networks first."""
    given = parse_options()
    limits = measure_conv_limits(given.rounds)
    for name, (limit, timing) in limits.items():
        print_result(f"conv_limit_{name}", limit, "GFLOP/s", threads=torch.get_num_threads(), **timing.notes)
    for net in reversed(choose_nets(given)):
        measure_net(net, limits, given.rounds)


if __name__ == "__main__":
    main()
