"""What all scripts share: options, timers, fresh processes, and results as JSON lines."""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
MAX_SPREAD = 1.2  # median / fastest round above which other jobs have disturbed a measurement
PRINTED: list[dict[str, Any]] = []  # the results that this process has printed, for a summary of them
Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """Seconds of each round of one variant."""

    rounds: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median round."""
        return median(self.rounds)

    @property
    def best(self) -> float:
        """The fastest round; on a shared machine the others also measure its other users."""
        return min(self.rounds)

    @property
    def notes(self) -> dict[str, Any]:
        """What a reader needs to trust the median."""
        quiet = self.seconds <= MAX_SPREAD * self.best
        return {"rounds": len(self.rounds), "best_s": round(self.best, 6), "quiet": quiet}


def make_environment(**more: str) -> dict[str, str]:
    """Return this process's variables, for a command that imports this checkout and what else is imported here."""
    folders = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders)), **more}


def time_variants(variants: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, Timing]:
    """Time A B C A B C …, so that whatever slows the machine for a while slows all variants."""
    for _ in range(warm_up):
        for run in variants.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def time_rounds(run: Callable[[], object], rounds: int, warm_up: int = 0) -> Timing:
    """Time one piece of work."""
    return time_variants({"": run}, rounds, warm_up)[""]


def for_each(work: Callable[[Any], object], items: Iterable[Any]) -> Callable[[], None]:
    """Return work over all items as one piece."""

    def run() -> None:
        for item in items:
            work(item)

    return run


def run_in_process(work: Callable[..., Result], *values: Any) -> Result:
    """Return what a module's function returns in a fresh process, whose memory holds imports and nothing else."""
    with make_process_pool(1) as pool:
        return pool.submit(work, *values).result()


def make_process_pool(count: int) -> ProcessPoolExecutor:
    """Make fresh processes, not forks of this one: those would inherit its memory, and OpenMP hangs in them."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("forkserver"))


def read_peak_bytes() -> int:
    """Return the most bytes that this process has held in memory so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        # ru_maxrss would begin with the memory of the process that started this one.
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def print_result(
    name: str, value: float, unit: str, baseline: str | None = None, ratio: float | None = None, **detail: Any
) -> None:
    """Print one result; `ratio` is how many times better than the baseline, above 1 in our favour."""
    _print_line(
        {
            "name": name,
            "value": round_digits(value),
            "unit": unit,
            "baseline": baseline,
            "ratio": None if ratio is None else round_digits(ratio),
            "detail": {key: round_digits(v) if isinstance(v, float) else v for key, v in detail.items()},
        }
    )


def print_missing(name: str, **reason: str) -> None:
    """Print a row without a value, and why it has none: `error` or `skipped`."""
    _print_line({"name": name, "value": None, **reason})


def _print_line(content: Mapping[str, Any]) -> None:
    source = {
        "machine": describe_machine(),
        "commit": describe_commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    line = {"command": Path(sys.argv[0]).stem, **content, **source}
    PRINTED.append(line)
    print(json.dumps(line), flush=True)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the results of a file, whatever else was printed into it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def round_digits(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")


@cache
def describe_machine() -> str:
    """Return the model of the CPU and how many cores this process may use."""
    model = "unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if "model name" in line:
                model = line.split(":", 1)[1].strip()
                break
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return f"{model}, {cores} cores"


@cache
def describe_commit() -> str:
    """Return the short hash of the checkout, with `+` if tracked files differ from it; `unknown` outside one."""
    try:
        commit = _run_git("rev-parse", "--short", "HEAD")
        changes = _run_git("status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + "+" if changes else commit


def _run_git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the option that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="timed rounds of each variant")
    return parser


def parse_net_options(description: str | None, rounds: int) -> argparse.Namespace:
    """Parse the options of scripts that measure the published network."""
    parser = make_parser(description, rounds)
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 64; the claim is about 256")
    parser.add_argument("--batch", type=int, default=8, help="images")
    return parser.parse_args()
