"""What a round costs as the pool and the number of GPUs grow: measured small, fitted, worked out to 100 million.

Prints one JSON line per number. `--measured` takes such lines of an earlier call instead of measuring again, so that
other assumptions take seconds. Speeds of GPUs are assumptions; everything else comes from this machine.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import scaling_model as model
from benchmarks import scaling_report as report
from benchmarks.measure import make_parser, print_result
from benchmarks.nets import silence_lightning
from benchmarks.scaling_parts import DIMENSIONS, measure_parts
from benchmarks.scaling_ranks import run_processes

IMAGES, GPUS = (10_000, 1_000_000, 10_000_000, 100_000_000), (1, 8, 64)
Lines = list[dict[str, Any]]


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = make_parser(__doc__, rounds=2)
    parser.add_argument("--measured", type=Path, help="lines of an earlier call, instead of measuring")
    parser.add_argument("--train-rate", type=float, default=2000, help="images/s of one GPU; assumed")
    parser.add_argument("--score-rate", type=float, default=8000, help="images/s of one GPU; assumed")
    parser.add_argument("--cores", type=float, default=12, help="of a machine, per GPU; assumed")
    parser.add_argument("--epochs", type=float, default=40, help="of a round")
    parser.add_argument("--batch", type=float, default=64, help="images per GPU and step")
    parser.add_argument("--docs", type=Path, help="folder of scaling.md, whose figures and tables are made anew")
    given: argparse.Namespace = parser.parse_args()
    return given


def measure_all(repeats: int) -> Lines:
    """Measure, and print each number at once."""
    silence_lightning()
    lines: Lines = []

    def add_line(name: str, value: float, unit: str, sizes: Any) -> None:
        print_result(f"scaling_{name}", value, unit, **sizes)
        lines.append({"name": f"scaling_{name}", "value": value, "unit": unit, "detail": dict(sizes)})

    for sample in measure_parts(repeats):
        add_line(*sample)
    for count in (1, 2, 4):
        for line in run_processes(count):
            add_line(line["name"], line["value"], line["unit"], line["sizes"])
    return lines


def _round_values(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}


def main() -> None:
    """Measure, fit, check, work out, draw."""
    given = parse_options()
    if given.measured:
        lines = [json.loads(line) for line in given.measured.read_text().splitlines() if line.startswith("{")]
    else:
        lines = measure_all(given.rounds)
    fits = model.fit_models(lines)
    one = {line["name"].removeprefix("scaling_"): line["value"] for line in lines}
    assumed = model.Assumptions(
        given.train_rate, given.score_rate, given.cores, given.epochs, given.batch, DIMENSIONS
    )
    for part, fit in fits.items():
        factors = _round_values(dict(zip(("constant", *fit.terms), fit.factors, strict=True)))
        print_result(
            f"scaling_model_{part}", fit.error, "relative error at the largest size, held out", factors=factors
        )
    for name, value, unit in model.find_limits(fits):
        print_result(f"scaling_limit_{name}", value, unit)
    projections = [model.project(fits, one, assumed, images, gpus) for images in IMAGES for gpus in GPUS]
    for found in projections:
        print_result(
            "scaling_round",
            found.images / found.total,
            "scored images/s over the whole round",
            images=found.images,
            gpus=found.gpus,
            labelled=found.labelled,
            budget=found.budget,
            seconds=_round_values(found.seconds),
            core_set_s=_round_values(found.core_set),
            once_s=_round_values(found.once),
            network_bytes=_round_values(found.network),
            memory_bytes=_round_values(found.memory),
            disk_bytes=_round_values(found.disk),
            assumed=vars(assumed),
        )
    if given.docs:
        report.write(given.docs, fits, projections)
        print(f"figures and tables are in {given.docs}", file=sys.stderr)


if __name__ == "__main__":
    main()
