"""Images/s that N runs train with together on one GPU: jobs of a sweep, started as users start them.

Each trains for the same time; what counts is the time in which all of them train.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback

from benchmarks.measure import make_environment, print_missing
from benchmarks.nvidia_rows import FULL, TOY, Sizes, print_row
from llpp.launch.nvidia_mps import find_mps

ALL_COUNTS = (1, 2, 4, 8, 15)
FEW_COUNTS = (1, 15, 4)  # of the row of `--nvidia`, which has a limit; the most telling first
WARM_UP_STEPS = 20  # in which algorithms are chosen
# A round without a selection, of crops that the device holds. The base model is each run's own, so that none waits.
RUN = (
    "dataset=synthetic", "rounds=1", "backbone=hourglass", "backbone.stacks=1", "crop.cache=true",
    "crop.resident=device", "optimizer.lr=2e-3", "launch.threads=1", "training.base_models=null",
    "trainer.max_epochs=100000", "callbacks=none", "logger=none", "report.write=false", "ranker=head",
    "+callbacks.clock._target_=benchmarks.side_by_side.StepClock",
    "+callbacks.clock.path=${paths.run_dir}/steps.json",
)  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """What each run trains, and for how long."""

    batch: int
    seconds: int
    settings: tuple[str, ...]


REAL = Workload(
    64, 60,
    ("backbone.channels=128", "crop.size=128", "dataset.size=160", "dataset.initial=1024", "dataset.pool=16",
     "dataset.val=16", "dataset.test=64", "initial=1024", "budget=16", "trainer=gpu"),
)  # fmt: skip
REHEARSED = Workload(
    4, 4,
    ("backbone.channels=8", "crop.size=64", "dataset.size=48", "dataset.initial=32", "dataset.pool=8",
     "dataset.val=4", "dataset.test=8", "initial=32", "budget=4", "trainer=cpu"),
)  # fmt: skip


class StepClock(Callback):
    """Writes down when each training step of a run has ended, by the clock that all processes share."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time; the file waits until nothing is measured any more."""
        self.times.append(time.time())

    def on_train_end(self, *_: Any) -> None:
        """Write all times."""
        self.path.write_text(json.dumps(self.times), encoding="utf-8")


def count_common_steps(times: Sequence[Sequence[float]], warm_up: int) -> tuple[list[int], float]:
    """Count the steps that each run ends while all of them train.

    Args:
        times: of each run, when each of its steps ended, in seconds.
        warm_up: steps of each run that do not count.

    Returns:
        The steps of each run, and the seconds of that time; 0 if there is no such time.
    """
    if min(map(len, times)) <= warm_up:
        return [0] * len(times), 0.0
    start = max(run[warm_up] for run in times)
    end = min(run[-1] for run in times)
    counts = [bisect_right(run, end) - bisect_right(run, start) for run in times]
    return counts, max(0.0, end - start)


def run_sweep(folder: Path, jobs: int, load: Workload, on_gpu: bool, more: Sequence[str]) -> list[list[float]]:
    """Run a sweep of this many jobs at the same time; return when each step of each job ended."""
    name = f"jobs{jobs}"
    seeds = ",".join(map(str, range(jobs)))
    minutes, seconds = divmod(load.seconds, 60)
    places = [f"launch.jobs_per_gpu={jobs}"] if on_gpu else []
    words = [
        *RUN, *load.settings, f"data.batch_size={load.batch}", f"+trainer.max_time=00:00:{minutes:02}:{seconds:02}",
        f"paths.runs={folder / 'runs'}", f"paths.cache_dir={folder / 'crops'}", f"name={name}", f"seed={seeds}",
        "hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}", *places, *more,
    ]  # fmt: skip
    environment = make_environment(OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "llpp", "run", "-m", *words]
    subprocess.run(command, cwd=folder, env=environment, stdout=2, check=True)
    files = sorted((folder / "runs" / name).glob("seed*/steps.json"))
    if len(files) != jobs:
        raise RuntimeError(f"{jobs - len(files)} of {jobs} jobs have not trained; see their messages above")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def measure(sizes: Sizes, counts: Sequence[int], load: Workload, more: Sequence[str] = ()) -> None:
    """Print a row for each number of jobs, as soon as it is measured."""
    alone = None
    with tempfile.TemporaryDirectory() as folder:
        for jobs in counts:
            times = run_sweep(Path(folder), jobs, load, not sizes.rehearsal, more)
            steps, seconds = count_common_steps(times, 2 if sizes.rehearsal else WARM_UP_STEPS)
            if not seconds:
                print_missing(
                    f"nvidia_side_by_side_{jobs}",
                    error="there was no time in which all jobs trained; raise --seconds",
                )
                continue
            rate = sum(steps) * load.batch / seconds
            if jobs == 1:
                alone = rate
            detail: dict[str, Any] = {
                "seconds": seconds,
                "slowest_run": min(steps) * load.batch / seconds,
                "fastest_run": max(steps) * load.batch / seconds,
                "times_one_run": None if alone is None else rate / alone,
                "batch": load.batch,
                "mps": find_mps(os.environ) is not None,
                "settings": [*load.settings, *more],
            }
            print_row(sizes, f"side_by_side_{jobs}", rate, "images/s", **detail)


def measure_side_by_side(sizes: Sizes) -> None:
    """Measure a few numbers of jobs, for `python -m benchmarks --nvidia`."""
    if sizes.rehearsal:
        measure(sizes, (1, 2), REHEARSED)
    else:
        measure(sizes, FEW_COUNTS, REAL)


def main() -> int:
    """Measure the numbers of jobs that are asked for; return exit status 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_by_side", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", help=f"at the same time (default: {ALL_COUNTS}, or 1 and 2)")
    parser.add_argument("--seconds", type=int, help="of training, of each job")
    parser.add_argument("--rehearse", action="store_true", help="at toy size on the CPU: does the code run?")
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="for the runs, in addition")
    options = parser.parse_args()
    if not options.rehearse and not torch.cuda.is_available():
        print(
            "benchmarks.side_by_side needs an NVIDIA GPU and the CUDA build of torch, and torch sees none here; run "
            "it on a machine with one, or try the code out with python -m benchmarks.side_by_side --rehearse",
            file=sys.stderr,
        )
        return 2
    sizes, load, counts = (TOY, REHEARSED, (1, 2)) if options.rehearse else (FULL, REAL, ALL_COUNTS)
    load = Workload(load.batch, options.seconds or load.seconds, load.settings)
    measure(sizes, options.jobs or counts, load, options.set)
    return 0


if __name__ == "__main__":
    sys.exit(main())
