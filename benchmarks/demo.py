"""Wall time of `make demo` without the installation: four jobs, two at a time, and the report over them."""

import csv
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.measure import make_environment, make_parser, print_result, time_rounds

# As in the Makefile.
SWEEP = (
    "run", "-m", "experiment=demo", "acquisition=predicted_loss,random", "seed=0,1", "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
)  # fmt: skip
MIN_GAIN = 0.3  # PCK of random selections above that of the highest predicted losses


def time_llpp(folder: str, *words: str) -> float:
    """Return the seconds of `llpp WORDS` in a folder; its output goes to standard error."""
    environment = make_environment(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "llpp", *words]
    return time_rounds(lambda: subprocess.run(command, cwd=folder, env=environment, stdout=2, check=True), 1).seconds


def summarise_runs(runs: Path) -> dict[str, Any]:
    """Return by method, as means over seeds, PCK of the first selection and of the last model."""
    values = defaultdict(list)
    for path in sorted(runs.glob("*/seed*/rounds.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        method = path.parent.parent.name
        values[f"selected_pck_{method}"].append(float(rows[0]["selected_pck"]))
        values[f"last_test_pck_{method}"].append(float(rows[-1]["test_pck"]))
    return {name: mean(seeds) for name, seeds in values.items()}


def main() -> None:
    """Run the demo in an empty folder, and fail unless predicted losses find failures."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("more", nargs="*", metavar="OPTION=VALUE", help="for the sweep, in addition")
    options = parser.parse_args()
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            sweep = time_llpp(folder, *SWEEP, *options.more)
            report = time_llpp(folder, "report", "runs/demo")
            pck = summarise_runs(Path(folder, "runs/demo"))
        print_result("demo", sweep + report, "s", sweep_s=sweep, report_s=report, more=options.more, **pck)
        if pck["selected_pck_predicted_loss"] > pck["selected_pck_random"] - MIN_GAIN:
            raise RuntimeError(f"the demo does not find failures: {pck}")


if __name__ == "__main__":
    main()
