"""What all scripts share: alternating timer, description of the machine, JSON lines."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

MAX_SPREAD = 1.2  # median / fastest round above which other jobs have disturbed a measurement


@dataclass(frozen=True)
class Timing:
    """Seconds of each round of one variant."""

    rounds: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median round."""
        return median(self.rounds)

    @property
    def notes(self) -> dict[str, Any]:
        """What a reader needs to trust the median."""
        spread = self.seconds / min(self.rounds)
        return {"rounds": len(self.rounds), "best_s": round(min(self.rounds), 6), "quiet": spread <= MAX_SPREAD}


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


def print_result(
    name: str, value: float, unit: str, baseline: str | None = None, ratio: float | None = None, **detail: Any
) -> None:
    """Print one result; `ratio` is how many times better than the baseline, above 1 in our favour."""
    line = {
        "command": Path(sys.argv[0]).stem,
        "name": name,
        "value": _round_digits(value),
        "unit": unit,
        "baseline": baseline,
        "ratio": None if ratio is None else _round_digits(ratio),
        "detail": {key: _round_digits(v) if isinstance(v, float) else v for key, v in detail.items()},
        "machine": describe_machine(),
        "commit": describe_commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(line), flush=True)


def _round_digits(value: float) -> float:
    return float(f"{value:.4g}")


@cache
def describe_machine() -> str:
    """Model of the CPU and how many cores this process may use."""
    model = "unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return f"{model}, {cores} cores"


@cache
def describe_commit() -> str:
    """Short hash of the checkout, with `+` if tracked files differ from it; `unknown` outside one."""

    def run_git(*arguments: str) -> str:
        here = Path(__file__).resolve().parent
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return run_git("rev-parse", "--short", "HEAD") + ("+" if run_git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_allocator() -> str:
    """Whether glibc was told to keep large blocks, which speeds up any network on a CPU."""
    return "tuned" if "MALLOC_MMAP_THRESHOLD_" in os.environ else "default"


def read_peak_bytes() -> int:
    """The most that this process has held in memory so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would begin with what the starting process held
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def make_parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="timed rounds of each variant")
    return parser
