"""Training throughput on a CPU: llpp in fp32 and bf16, and a plain loop; the published network and two small ones."""

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.measure import parse_net_options
from benchmarks.nets import PUBLISHED, SMALL, Net, make_autocast, make_training_step
from benchmarks.plain_loop import PRECISIONS, PlainLoop, measure_conv_limits, measure_over_plain

# BatchNorm over the few cells of the coarsest maps magnifies roundings: equal means equal to two digits.
MAX_DIFFERENCE = {"fp32": 1e-2, "bf16": 5e-2}


def measure_net(net: Net, limits: Mapping[str, float], rounds: int) -> None:
    """Print the rows of one network; raise RuntimeError unless all variants begin with the same loss."""
    batch = net.make_batch()
    steps = {}
    for name in PRECISIONS:
        steps[name] = make_training_step(net.make_module(), batch, make_autocast("cpu", name == "bf16"))
    plain = PlainLoop(net.make_module().train(), batch)

    plain_loss = plain.step()
    details = {}
    for name, step in steps.items():
        loss = float(step())
        if abs(loss - plain_loss) > MAX_DIFFERENCE[name] * abs(plain_loss):
            raise RuntimeError(f"the first loss of {name} is {loss}, that of the plain loop {plain_loss}")
        details[name] = {"first_loss": loss, "first_loss_plain": plain_loss}
    measure_over_plain("training_step", net, 3 * net.count_gflop(), limits, steps, plain.step, rounds, details)


def main() -> None:
    """Measure the limit of the machine, then the networks, the small ones first."""
    options = parse_net_options(__doc__, rounds=7)
    limits = measure_conv_limits(options.rounds)
    for net in (*SMALL, replace(PUBLISHED, size=options.size, batch=options.batch)):
        measure_net(net, limits, options.rounds)


if __name__ == "__main__":
    main()
