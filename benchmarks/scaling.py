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
from benchmarks.measure import arguments, emit
from benchmarks.nets import quiet
from benchmarks.scaling_parts import DIMENSIONS, all_parts
from benchmarks.scaling_ranks import several

IMAGES, GPUS = (10_000, 1_000_000, 10_000_000, 100_000_000), (1, 8, 64)
Lines = list[dict[str, Any]]


def options() -> argparse.Namespace:
    """Command line."""
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--measured", type=Path, help="lines of an earlier call, instead of measuring")
    parser.add_argument("--train-rate", type=float, default=2000, help="images/s of one GPU; assumed")
    parser.add_argument("--score-rate", type=float, default=8000, help="images/s of one GPU; assumed")
    parser.add_argument("--cores", type=float, default=12, help="of a machine, per GPU; assumed")
    parser.add_argument("--epochs", type=float, default=40, help="of a round")
    parser.add_argument("--batch", type=float, default=64, help="images per GPU and step")
    parser.add_argument("--docs", type=Path, help="folder of scaling.md, whose figures and tables are made anew")
    given: argparse.Namespace = parser.parse_args()
    return given


def measured(repeats: int) -> Lines:
    """Measure, and print each number at once."""
    quiet()
    lines: Lines = []

    def note(name: str, value: float, unit: str, sizes: Any) -> None:
        emit(f"scaling_{name}", value, unit, **sizes)
        lines.append({"name": f"scaling_{name}", "value": value, "unit": unit, "detail": dict(sizes)})

    for sample in all_parts(repeats):
        note(*sample)
    for count in (1, 2, 4):
        for line in several(count):
            note(line["name"], line["value"], line["unit"], line["sizes"])
    return lines


def _short(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}


def main() -> None:
    """Measure, fit, check, work out, draw."""
    given = options()
    if given.measured:
        lines = [json.loads(line) for line in given.measured.read_text().splitlines() if line.startswith("{")]
    else:
        lines = measured(given.rounds)
    fits = model.fitted(lines)
    one = {line["name"].removeprefix("scaling_"): line["value"] for line in lines}
    assumed = model.Assumed(given.train_rate, given.score_rate, given.cores, given.epochs, given.batch, DIMENSIONS)
    for part, fit in fits.items():
        factors = _short(dict(zip(("constant", *fit.terms), fit.factors, strict=True)))
        emit(f"scaling_model_{part}", fit.error, "relative error at the largest size, held out", factors=factors)
    for name, value, unit in model.limits(fits):
        emit(f"scaling_limit_{name}", value, unit)
    projections = [model.project(fits, one, assumed, images, gpus) for images in IMAGES for gpus in GPUS]
    for found in projections:
        emit(
            "scaling_round", found.images / found.total, "scored images/s over the whole round", images=found.images,
            gpus=found.gpus, labelled=found.labelled, budget=found.budget, seconds=_short(found.seconds),
            core_set_s=_short(found.core_set), once_s=_short(found.once), network_bytes=_short(found.network),
            memory_bytes=_short(found.memory), disk_bytes=_short(found.disk), assumed=vars(assumed),
        )  # fmt: skip
    if given.docs:
        report.write(given.docs, fits, projections)
        print(f"figures and tables are in {given.docs}", file=sys.stderr)


if __name__ == "__main__":
    main()
