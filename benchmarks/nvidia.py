"""All measurements of a GPU, each row in a process with a time of its own: `python -m benchmarks --nvidia`.

A row that fails, is too slow, or cannot be measured here is a line with `error` or `skipped`, and the others go on.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

from benchmarks import measure
from benchmarks.nvidia_device import FULL, TOY, Sizes

MAX_RUN_SECONDS = 465.0  # seconds of a whole run
MIN_ROW_SECONDS = 10.0  # seconds without which a row is not begun
REPORTED_FAILURE = 3  # exit status of a row that has said itself what went wrong


def _make_training_row(variant: str) -> Callable[[Sizes], None]:
    def measure_row(sizes: Sizes) -> None:
        from benchmarks.nvidia_networks import measure_training

        measure_training(sizes, variant)

    return measure_row


def _make_scoring_row(variant: str) -> Callable[[Sizes], None]:
    def measure_row(sizes: Sizes) -> None:
        from benchmarks.nvidia_networks import measure_scoring

        measure_scoring(sizes, variant)

    return measure_row


def _measure_ceilings(sizes: Sizes) -> None:
    from benchmarks.nvidia_device import measure_ceilings, print_row

    for name, value in measure_ceilings(sizes).items():
        copied = name.startswith("copy")
        print_row(
            sizes, f"ceiling_{name}", value, "GB/s" if copied else "TFLOP/s", dtype="uint8" if copied else "bf16"
        )


def _measure_core_set(sizes: Sizes) -> None:
    from benchmarks.nvidia_pool import measure_core_set

    measure_core_set(sizes)


def _measure_agreement(sizes: Sizes) -> None:
    from benchmarks.nvidia_pool import measure_agreement

    measure_agreement(sizes)


def _make_round_row(*settings: str) -> Callable[[Sizes], None]:
    def measure_row(sizes: Sizes) -> None:
        from benchmarks.nvidia_pool import measure_round

        measure_round(sizes, *settings)

    return measure_row


# seconds that a row may take; what matters most comes first, because the whole run ends after LONGEST
ROWS: dict[str, tuple[float, Callable[[Sizes], None]]] = {
    "ceilings": (40, _measure_ceilings),
    "training_eager": (50, _make_training_row("eager")),
    "scoring_eager": (50, _make_scoring_row("eager")),
    "core_set": (50, _measure_core_set),
    "training_regional": (100, _make_training_row("regional")),
    "scoring_regional": (70, _make_scoring_row("regional")),
    "training_eager_graphs": (60, _make_training_row("eager_graphs")),
    "round_cached": (110, _make_round_row("dataset.cache=true")),
    "scoring_folded": (50, _make_scoring_row("folded")),
    "training_graphs": (130, _make_training_row("graphs")),
    "scoring_graphs": (90, _make_scoring_row("graphs")),
    "agreement": (60, _measure_agreement),
    "round_resident": (90, _make_round_row("dataset.cache=true", "dataset.resident=device")),
    "training_whole": (130, _make_training_row("whole")),
    "scoring_whole": (90, _make_scoring_row("whole")),
    "round": (90, _make_round_row()),
}


def main(given: Sequence[str]) -> int:
    """Exit status 1 if a row failed, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks --nvidia", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--rehearse", action="store_true", help="every row at toy size on the CPU, in one process")
    parser.add_argument(
        "--seconds", type=float, default=MAX_RUN_SECONDS, help="of the whole run (default: %(default)s)"
    )
    parser.add_argument("--here", action="store_true", help="rows in this process, without a limit")
    options = parser.parse_args(given)
    if unknown := [name for name in options.names if name not in ROWS]:
        parser.error(f"unknown {', '.join(unknown)}; expected some of {', '.join(ROWS)}")
    names = options.names or list(ROWS)
    if options.rehearse:
        return max(_run_row(name, TOY) for name in names)
    import torch

    if not torch.cuda.is_available():
        print(
            "python -m benchmarks --nvidia needs an NVIDIA GPU and the CUDA build of torch, and torch sees no GPU "
            "here; run it on a machine with one, or try the code out with --rehearse",
            file=sys.stderr,
        )
        return 2
    if options.here:
        torch.backends.cudnn.benchmark = True
        return max(_run_row(name, FULL) for name in names)
    return _run_in_processes(names, time.monotonic() + options.seconds)


def _run_in_processes(names: Sequence[str], end: float) -> int:
    """Rows one after the other, each in a process of its own, until the time is over."""
    worst = 0
    for name in names:
        seconds, begun = min(ROWS[name][0], end - time.monotonic()), time.monotonic()
        if seconds < MIN_ROW_SECONDS:
            _print_empty_row(name, skipped="the time of the whole run is over; ask for this row by its name")
            continue
        print(f"{name} (at most {seconds:.0f} s) …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.nvidia", "--here", name]
        with subprocess.Popen(command, start_new_session=True) as process:
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = REPORTED_FAILURE
                _print_empty_row(
                    name, error=f"not done after {seconds:.0f} s; lines above hold what it had measured by then"
                )
            finally:
                _kill_session(process.pid)
        if status not in (0, REPORTED_FAILURE):
            _print_empty_row(name, error=f"ended with status {status}; see its messages above")
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        worst = max(worst, int(status != 0))
    return worst


def _kill_session(session: int) -> None:
    """Nothing that a row has started is left to disturb the next one: loaders, compilers, the run of a round."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


def _run_row(name: str, sizes: Sizes) -> int:
    """Measure one row, whatever happens."""
    from benchmarks.nets import silence_lightning
    from benchmarks.nvidia_pool import RowSkipped

    silence_lightning()
    warnings.filterwarnings("ignore", message=r"You are trying to `self\.log\(\)`")
    try:
        ROWS[name][1](sizes)
    except RowSkipped as reason:
        _print_empty_row(name, skipped=str(reason))
    except Exception as error:
        _print_empty_row(name, error=f"{type(error).__name__}: {' '.join(str(error).split())[:600]}")
        return REPORTED_FAILURE
    return 0


def _print_empty_row(name: str, **what: str) -> None:
    """A row without a value."""
    line = {
        "name": f"nvidia_{name}",
        "value": None,
        **what,
        "machine": measure.describe_machine(),
        "commit": measure.describe_commit(),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
