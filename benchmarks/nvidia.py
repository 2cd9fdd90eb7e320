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

LONGEST = 465.0  # seconds of a whole run
LEAST = 10.0  # seconds without which a row is not begun
TOLD = 3  # exit status of a row that has said itself what went wrong


def _training(variant: str) -> Callable[[Sizes], None]:
    def row(sizes: Sizes) -> None:
        from benchmarks.nvidia_networks import training

        training(sizes, variant)

    return row


def _scoring(variant: str) -> Callable[[Sizes], None]:
    def row(sizes: Sizes) -> None:
        from benchmarks.nvidia_networks import scoring

        scoring(sizes, variant)

    return row


def _ceilings(sizes: Sizes) -> None:
    from benchmarks.nvidia_device import ceilings, tell

    for name, value in ceilings(sizes).items():
        copied = name.startswith("copy")
        tell(sizes, f"ceiling_{name}", value, "GB/s" if copied else "TFLOP/s", dtype="uint8" if copied else "bf16")


def _core_set(sizes: Sizes) -> None:
    from benchmarks.nvidia_pool import core_set

    core_set(sizes)


def _agreement(sizes: Sizes) -> None:
    from benchmarks.nvidia_pool import agreement

    agreement(sizes)


def _round(*settings: str) -> Callable[[Sizes], None]:
    def row(sizes: Sizes) -> None:
        from benchmarks.nvidia_pool import whole_round

        whole_round(sizes, *settings)

    return row


# seconds that a row may take; what matters most comes first, because the whole run ends after LONGEST
ROWS: dict[str, tuple[float, Callable[[Sizes], None]]] = {
    "ceilings": (40, _ceilings),
    "training_eager": (50, _training("eager")),
    "scoring_eager": (50, _scoring("eager")),
    "core_set": (50, _core_set),
    "training_regional": (100, _training("regional")),
    "scoring_regional": (70, _scoring("regional")),
    "training_eager_graphs": (60, _training("eager_graphs")),
    "round_cached": (110, _round("dataset.cache=true")),
    "scoring_folded": (50, _scoring("folded")),
    "training_graphs": (130, _training("graphs")),
    "scoring_graphs": (90, _scoring("graphs")),
    "agreement": (60, _agreement),
    "round_resident": (90, _round("dataset.cache=true", "dataset.resident=device")),
    "training_whole": (130, _training("whole")),
    "scoring_whole": (90, _scoring("whole")),
    "round": (90, _round()),
}


def main(given: Sequence[str]) -> int:
    """Exit status 1 if a row failed, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks --nvidia", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--rehearse", action="store_true", help="every row at toy size on the CPU, in one process")
    parser.add_argument("--seconds", type=float, default=LONGEST, help="of the whole run (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help="rows in this process, without a limit")
    options = parser.parse_args(given)
    if unknown := [name for name in options.names if name not in ROWS]:
        parser.error(f"unknown {', '.join(unknown)}; expected some of {', '.join(ROWS)}")
    names = options.names or list(ROWS)
    if options.rehearse:
        return max(_row(name, TOY) for name in names)
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
        return max(_row(name, FULL) for name in names)
    return _apart(names, time.monotonic() + options.seconds)


def _apart(names: Sequence[str], end: float) -> int:
    """Rows one after the other, each in a process of its own, until the time is over."""
    worst = 0
    for name in names:
        seconds, begun = min(ROWS[name][0], end - time.monotonic()), time.monotonic()
        if seconds < LEAST:
            _say(name, skipped="the time of the whole run is over; ask for this row by its name")
            continue
        print(f"{name} (at most {seconds:.0f} s) …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.nvidia", "--here", name]
        with subprocess.Popen(command, start_new_session=True) as process:
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = TOLD
                _say(name, error=f"not done after {seconds:.0f} s; lines above hold what it had measured by then")
            finally:
                _end(process.pid)
        if status not in (0, TOLD):
            _say(name, error=f"ended with status {status}; see its messages above")
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        worst = max(worst, int(status != 0))
    return worst


def _end(session: int) -> None:
    """Nothing that a row has started is left to disturb the next one: loaders, compilers, the run of a round."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


def _row(name: str, sizes: Sizes) -> int:
    """Measure one row, whatever happens."""
    from benchmarks.nets import quiet
    from benchmarks.nvidia_pool import Skipped

    quiet()
    warnings.filterwarnings("ignore", message=r"You are trying to `self\.log\(\)`")
    try:
        ROWS[name][1](sizes)
    except Skipped as reason:
        _say(name, skipped=str(reason))
    except Exception as error:
        _say(name, error=f"{type(error).__name__}: {' '.join(str(error).split())[:600]}")
        return TOLD
    return 0


def _say(name: str, **what: str) -> None:
    """A row without a value."""
    line = {"name": f"nvidia_{name}", "value": None, **what, "machine": measure.machine(), "commit": measure.commit()}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
