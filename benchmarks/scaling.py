"""What a round costs as the pool and the number of GPUs grow: measured small, fitted, worked out to 100 million.

Prints one JSON line per number. `--measured` takes such lines of an earlier call instead of measuring again, so that
other speeds of a GPU take seconds.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks import scaling_model as model
from benchmarks.measure import make_parser, print_result, read_lines, round_digits
from benchmarks.scaling_parts import measure_parts
from benchmarks.scaling_ranks import measure_ranks

IMAGES = (10_000, 1_000_000, 10_000_000, 100_000_000)
GPUS = (1, 8, 64)
# One NVIDIA H200, eager, batch 128, 2026-11-27, 62147de: nvidia_training_eager_128 and nvidia_scoring_eager_128 of
# benchmarks/results.jsonl.
TRAIN_RATE = 1617.0  # images/s
SCORE_RATE = 4339.0  # images/s
ASSUMED = ("train_rate", "score_rate", "cores", "epochs", "batch")  # options


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__, rounds=2)
    parser.add_argument("--measured", type=Path, help="lines of an earlier call, instead of measuring")
    parser.add_argument("--train-rate", type=float, default=TRAIN_RATE, help="images/s of one GPU (an H200's)")
    parser.add_argument("--score-rate", type=float, default=SCORE_RATE, help="images/s of one GPU (an H200's)")
    parser.add_argument("--cores", type=float, default=12, help="of a machine, per GPU; assumed")
    parser.add_argument("--epochs", type=float, default=40, help="of a round")
    parser.add_argument("--batch", type=float, default=64, help="images per GPU and step")
    parser.add_argument("--docs", type=Path, help="folder of scaling.md, whose figure and table are written again")
    return parser.parse_args()


def measure_all(repeats: int) -> list[dict[str, Any]]:
    """Measure, and print each number at once."""
    lines = []
    for name, value, unit, sizes in itertools.chain(measure_parts(repeats), measure_ranks()):
        print_result(f"scaling_{name}", value, unit, **sizes)
        lines.append({"name": f"scaling_{name}", "value": value, "detail": sizes})
    return lines


def _round_values(values: dict[str, float]) -> dict[str, float]:
    return {name: round_digits(value) for name, value in values.items()}


def main() -> None:
    """Measure, fit, check, work out, draw."""
    options = parse_options()
    lines = read_lines(options.measured) if options.measured else measure_all(options.rounds)
    fits = model.fit_models(lines)
    for part, fit in fits.items():
        factors = dict(zip(("constant", *fit.terms), fit.factors, strict=True))
        unit = "relative error at the largest size, held out"
        print_result(f"scaling_model_{part}", fit.error, unit, factors=_round_values(factors))
    for name, value, unit in model.find_limits(fits):
        print_result(f"scaling_limit_{name}", value, unit)

    single = {line["name"].removeprefix("scaling_"): line["value"] for line in lines}
    assumed = {name: getattr(options, name) for name in ASSUMED}
    projections = [model.project(fits, single, assumed, images, gpus) for images in IMAGES for gpus in GPUS]
    for projection in projections:
        print_result(
            "scaling_round", projection.images / projection.total, "scored images/s over the whole round",
            images=projection.images, gpus=projection.gpus, labelled=projection.labelled, budget=projection.budget,
            seconds=_round_values(projection.seconds), core_set_s=_round_values(projection.core_set),
            once_s=_round_values(projection.once), network_bytes=_round_values(projection.network),
            memory_bytes=_round_values(projection.memory), disk_bytes=_round_values(projection.disk),
            assumed=assumed,
        )  # fmt: skip
    if options.docs:
        figures.save_png(options.docs / "scaling_fits.png", figures.draw_fits(fits))
        figures.write_rounds_table(options.docs / "scaling.md", projections)
        print(f"figure and table are in {options.docs}", file=sys.stderr)


if __name__ == "__main__":
    main()
