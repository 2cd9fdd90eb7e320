"""How long a command takes before it says something, and a run before it can train; fresh processes each time."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Timing, make_parser, print_result, time_variants

ROOT = Path(__file__).resolve().parents[1]
LLPP = ("-m", "llpp")
IMPORTS = (
    "from llpp.launch.fast_imports import gc_paused\n"
    "with gc_paused():\n"  # as in job.work
    "    from llpp.launch import job\n    from llpp.config import build\n    from llpp.rounds import loop"
)
# name → what Python is called with, exit status, what it has to say
COMMANDS: dict[str, tuple[Sequence[str], int, str]] = {
    "bare_python": (("-c", "pass"), 0, ""),
    "bare_torch": (("-c", "import torch"), 0, ""),
    "bare_lightning": (("-c", "import pytorch_lightning"), 0, ""),
    "help": ((*LLPP, "--help"), 0, "llpp run"),
    "run_help": ((*LLPP, "run", "--help"), 0, "acquisition: core_set"),
    "config_error": ((*LLPP, "run", "data.batch_size=0"), 2, "data.batch_size=0 does not fit"),
    "config_error_name": ((*LLPP, "run", "data.batchsize=8"), 2, "did you mean data.batch_size?"),
    "config_error_composed": ((*LLPP, "run", "weights=best", "trainer.max_epochs=5"), 2, "weights=best needs a"),
    "training_ready": (("-c", IMPORTS), 0, ""),
}


def make_starter(name: str, folder: str) -> Callable[[], None]:
    """What runs a command, and fails if it does not say what it should."""
    words, code, told = COMMANDS[name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start() -> None:
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != code or told not in done.stdout + done.stderr:
            raise RuntimeError(f"{name}: exit status {done.returncode}\n{done.stdout}{done.stderr}")

    return start


def main() -> None:
    """Measure all in turn."""
    rounds = make_parser(__doc__, rounds=3).parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        times = time_variants({name: make_starter(name, folder) for name in COMMANDS}, rounds)
    bare: dict[str, Timing] = {name: times.pop(f"bare_{name}") for name in ("python", "torch", "lightning")}
    shown: dict[str, Any] = {f"bare_{name}_s": timing.seconds for name, timing in bare.items()}
    ready = times.pop("training_ready")
    for name, timing in times.items():
        print_result(f"start_{name}", timing.seconds, "s", **shown, **timing.notes)
    print_result(
        "start_training_ready", ready.seconds, "s", "bare import pytorch_lightning",
        bare["lightning"].seconds / ready.seconds, **shown, **ready.notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
