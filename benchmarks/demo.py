"""Wall time of `make demo` without the installation: four jobs, two at a time, and the report over them."""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.measure import make_parser, print_result

ROOT = Path(__file__).resolve().parents[1]
SWEEP = (
    "run", "-m", "experiment=demo", "acquisition=predicted_loss,random", "seed=0,1", "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
)  # fmt: skip
STEPS = ("train", "test", "score", "select")


def time_command(folder: str, *words: str) -> float:
    """Seconds of one command, with the settings of the Makefile."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "llpp", *words], cwd=folder, env=environment, stdout=sys.stderr, check=True)
    return time.perf_counter() - start


def read_rounds(runs: Path) -> dict[str, list[list[dict[str, str]]]]:
    """The rows of rounds.csv of each seed, by method."""
    found: dict[str, list[list[dict[str, str]]]] = {}
    for path in sorted(runs.glob("*/seed*/rounds.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found.setdefault(path.parent.parent.name, []).append(list(csv.DictReader(file)))
    return found


def main() -> None:
    """Run it in a folder of its own, and fail unless it finds failures as it should."""
    given = make_parser(__doc__, rounds=1)
    given.add_argument("more", nargs="*", metavar="OPTION=VALUE", help="for the sweep, beside what make demo says")
    options = given.parse_args()
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            sweep = time_command(folder, *SWEEP, *options.more)
            report = time_command(folder, "report", "runs/demo")
            runs = read_rounds(Path(folder, "runs/demo"))
        figures: dict[str, Any] = {}
        for method, seeds in runs.items():
            figures[f"selected_pck_{method}"] = mean(float(seed[0]["selected_pck"]) for seed in seeds)
            figures[f"last_test_pck_{method}"] = mean(float(seed[-1]["test_pck"]) for seed in seeds)
        spent = [
            sum(float(row[f"seconds_{step}"] or 0) for row in seed for step in STEPS)
            for seeds in runs.values()
            for seed in seeds
        ]
        print_result(
            "demo", sweep + report, "s", sweep_s=sweep, report_s=report, in_rounds_s=sum(spent),
            longest_job_in_rounds_s=max(spent), jobs=len(spent), more=options.more, **figures,
        )  # fmt: skip
        if figures["selected_pck_predicted_loss"] > figures["selected_pck_random"] - 0.3:
            raise RuntimeError(f"the demo does not find failures: {figures}")


if __name__ == "__main__":
    main()
