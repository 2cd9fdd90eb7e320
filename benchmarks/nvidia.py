"""The measurements of a GPU, each row in a process with a time limit: `python -m benchmarks --nvidia`.

A row that fails or is too slow is a line with `error`, one without time left has `skipped`; the others still run.
A table of all rows comes last.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

import torch

from benchmarks.measure import PRINTED, print_missing
from benchmarks.nets import silence_lightning
from benchmarks.nvidia_rows import (
    FULL,
    LARGE,
    SMALL,
    TOY,
    VARIANTS,
    Sizes,
    measure_core_set,
    measure_first_step,
    measure_round,
    measure_run_step,
    measure_scoring,
    measure_training,
    print_ceilings,
)
from benchmarks.nvidia_summary import format_summary
from benchmarks.side_by_side import measure_side_by_side
from llpp.training.trainer_setup import bound_cudnn_search

MAX_RUN_SECONDS = 445.0  # of the whole command but Python's own start, so that it stays within 450
MIN_ROW_SECONDS = 10.0  # without which a row is not begun
REPORTED_FAILURE = 3  # exit status of a row that has printed its error itself
Measure = Callable[[Sizes], None]

# row → seconds that it may take, and what measures it; without names these are measured, the most important first.
# Of training and scoring they are the two variants that were fastest on an H200, at the large batch.
USUAL: dict[str, tuple[float, Measure]] = {
    "ceilings": (20, print_ceilings),
    "training_graphs": (135, partial(measure_training, variant="graphs")),
    "scoring_regional": (45, partial(measure_scoring, variant="regional")),
    "training_regional": (95, partial(measure_training, variant="regional")),
    "scoring_eager": (20, partial(measure_scoring, variant="eager")),
    "run_step": (50, measure_run_step),
    "core_set": (20, measure_core_set),
    "round": (55, measure_round),
}


def list_other_rows() -> dict[str, tuple[float, Measure]]:
    """List the rows that are measured only when they are named."""
    rows: dict[str, tuple[float, Measure]] = {}
    for variant in VARIANTS:
        for name, size in ((variant, LARGE), (f"{variant}_64", SMALL)):
            if variant != "folded":
                rows[f"training_{name}"] = (150, partial(measure_training, variant=variant, size=size))
            rows[f"scoring_{name}"] = (90, partial(measure_scoring, variant=variant, size=size))
    for plans in (1, 3, 4, 10, 0):
        rows[f"first_step_{plans or 'all'}"] = (60, partial(measure_first_step, plans=plans))
    rows["side_by_side"] = (420, measure_side_by_side)
    return rows


ROWS = list_other_rows() | USUAL


def main(arguments: Sequence[str], start: float | None = None) -> int:
    """Return exit status 1 if a row failed, 2 without a GPU; `start` is when the command began, by time.monotonic."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks --nvidia", description=__doc__)
    others = [name for name in ROWS if name not in USUAL]
    names_help = f"of {', '.join(USUAL)} (without a name: all of these), {', '.join(others)}"
    parser.add_argument("names", nargs="*", metavar="row", help=names_help)
    parser.add_argument("--rehearse", action="store_true", help="rows at toy size on the CPU, in one process")
    parser.add_argument(
        "--seconds", type=float, default=MAX_RUN_SECONDS, help="of the whole run (default: %(default)s)"
    )
    parser.add_argument("--here", action="store_true", help="rows in this process, without a limit")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in ROWS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; expected some of {', '.join(ROWS)}")
    names = options.names or list(USUAL)
    if options.rehearse:
        return run_here(names, TOY)
    if not torch.cuda.is_available():
        print(
            "python -m benchmarks --nvidia needs an NVIDIA GPU and the CUDA build of torch, and torch sees no GPU "
            "here; run it on a machine with one, or try the code out with --rehearse",
            file=sys.stderr,
        )
        return 2
    if options.here:
        torch.backends.cudnn.benchmark = True
        bound_cudnn_search()
        return run_here(names, FULL)
    return run_in_processes(names, (start or time.monotonic()) + options.seconds)


def run_here(names: Sequence[str], sizes: Sizes) -> int:
    """Run rows in this process, print the table, and return the highest exit status."""
    first = len(PRINTED)
    status = max(run_row(name, sizes) for name in names)
    print(format_summary(PRINTED[first:]))
    return status


def run_in_processes(names: Sequence[str], end: float) -> int:
    """Run rows, each in a fresh process, until the monotonic clock reaches `end`; then print the table."""
    first = len(PRINTED)
    status = 0
    for place, name in enumerate(names):
        # What earlier rows have left over, this one may use.
        later = sum(ROWS[other][0] for other in names[place + 1 :])
        left = end - time.monotonic()
        limit = min(left, max(ROWS[name][0], left - later))
        if limit < MIN_ROW_SECONDS:
            print_missing(f"nvidia_{name}", skipped="the time of the whole run is over; ask for this row by its name")
            continue
        print(f"{name} (at most {limit:.0f} s) …", file=sys.stderr, flush=True)
        start = time.monotonic()
        if _run_process(name, limit) != 0:
            status = 1
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(format_summary(PRINTED[first:]), flush=True)
    return status


def _run_process(name: str, limit: float) -> int:
    """Run one row, end it at its limit, and return its exit status; whatever went wrong is a line."""
    command = [sys.executable, "-m", "benchmarks.nvidia", "--here", name]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True) as process:
        # Lines are shown as they come: those of a row that is ended count as well.
        reader = threading.Thread(target=_pass_lines_on, args=(process.stdout,))
        reader.start()
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
            reader.join()
    if status not in (0, REPORTED_FAILURE):
        print_missing(f"nvidia_{name}", error=f"ended with status {status}; see its messages above")
    return status


def _pass_lines_on(lines: Iterable[str]) -> None:
    """Print the results of a row's process, and keep them for the table; its own table is left out."""
    for line in lines:
        if line.startswith("{"):
            print(line, end="", flush=True)
            PRINTED.append(json.loads(line))


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
