"""All measurements of a GPU, each row in a process with a time limit: `python -m benchmarks --nvidia`.

A row that fails or is too slow is a line with `error`, one without time left has `skipped`; the others still run.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import torch

from benchmarks.measure import print_missing
from benchmarks.nets import silence_lightning
from benchmarks.nvidia_rows import (
    FULL,
    TOY,
    Sizes,
    measure_core_set,
    measure_scoring,
    measure_training,
    print_ceilings,
)
from benchmarks.side_by_side import measure_side_by_side

MAX_RUN_SECONDS = 465.0  # of all rows together
MIN_ROW_SECONDS = 10.0  # without which a row is not begun
REPORTED_FAILURE = 3  # exit status of a row that has printed its error itself

# row → seconds that it may take, and what measures it; the most important first, because the whole run ends after
# MAX_RUN_SECONDS
ROWS: dict[str, tuple[float, Callable[[Sizes], None]]] = {
    "ceilings": (40, print_ceilings),
    "training_eager": (50, partial(measure_training, variant="eager")),
    "scoring_eager": (50, partial(measure_scoring, variant="eager")),
    "core_set": (50, measure_core_set),
    "training_regional": (100, partial(measure_training, variant="regional")),
    "scoring_regional": (70, partial(measure_scoring, variant="regional")),
    "scoring_folded": (50, partial(measure_scoring, variant="folded")),
    "training_graphs": (130, partial(measure_training, variant="graphs")),
    "scoring_graphs": (90, partial(measure_scoring, variant="graphs")),
    "side_by_side": (420, measure_side_by_side),
}


def main(arguments: Sequence[str]) -> int:
    """Return exit status 1 if a row failed, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks --nvidia", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--rehearse", action="store_true", help="every row at toy size on the CPU, in one process")
    parser.add_argument(
        "--seconds", type=float, default=MAX_RUN_SECONDS, help="of the whole run (default: %(default)s)"
    )
    parser.add_argument("--here", action="store_true", help="rows in this process, without a limit")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in ROWS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; expected some of {', '.join(ROWS)}")
    names = options.names or list(ROWS)
    if options.rehearse:
        return max(run_row(name, TOY) for name in names)
    if not torch.cuda.is_available():
        print(
            "python -m benchmarks --nvidia needs an NVIDIA GPU and the CUDA build of torch, and torch sees no GPU "
            "here; run it on a machine with one, or try the code out with --rehearse",
            file=sys.stderr,
        )
        return 2
    if options.here:
        torch.backends.cudnn.benchmark = True
        return max(run_row(name, FULL) for name in names)
    return run_in_processes(names, time.monotonic() + options.seconds)


def run_in_processes(names: Sequence[str], end: float) -> int:
    """Run rows one after the other, each in a fresh process, until the monotonic clock reaches `end`."""
    status = 0
    for name in names:
        limit = min(ROWS[name][0], end - time.monotonic())
        if limit < MIN_ROW_SECONDS:
            print_missing(f"nvidia_{name}", skipped="the time of the whole run is over; ask for this row by its name")
            continue
        print(f"{name} (at most {limit:.0f} s) …", file=sys.stderr, flush=True)
        start = time.monotonic()
        if _run_process(name, limit) != 0:
            status = 1
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return status


def _run_process(name: str, limit: float) -> int:
    """Run one row, end it at its limit, and return its exit status; whatever went wrong is a line."""
    command = [sys.executable, "-m", "benchmarks.nvidia", "--here", name]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = REPORTED_FAILURE
            error = f"not done after {limit:.0f} s; lines above hold what it had measured by then"
            print_missing(f"nvidia_{name}", error=error)
        finally:
            # Nothing that a row has started may disturb the next one: loaders, compilers.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if status not in (0, REPORTED_FAILURE):
        print_missing(f"nvidia_{name}", error=f"ended with status {status}; see its messages above")
    return status


def run_row(name: str, sizes: Sizes) -> int:
    """Measure one row in this process; whatever goes wrong is a line."""
    silence_lightning()
    try:
        ROWS[name][1](sizes)
    except Exception as error:
        message = " ".join(str(error).split())[:600]
        print_missing(f"nvidia_{name}", error=f"{type(error).__name__}: {message}")
        return REPORTED_FAILURE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
