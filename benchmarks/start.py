"""How long a command takes before it says something, and a run before it can train; fresh processes each time."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from benchmarks.measure import make_environment, make_parser, print_result, time_variants

# What `llpp.launch.job` imports before a run can train, in the same way.
IMPORTS = (
    "from llpp.launch.fast_imports import gc_paused\n"
    "with gc_paused():\n"
    "    from llpp.launch import job\n    from llpp.config import build\n    from llpp.rounds import loop"
)
# name → what Python is called with, exit status, a part of its message
COMMANDS: dict[str, tuple[Sequence[str], int, str]] = {
    "lightning": (("-c", "import pytorch_lightning"), 0, ""),
    "training_ready": (("-c", IMPORTS), 0, ""),
    "help": (("-m", "llpp", "--help"), 0, "llpp run"),
    "config_error": (("-m", "llpp", "run", "data.batch_size=0"), 2, "data.batch_size=0 is invalid"),
    "config_error_composed": (
        ("-m", "llpp", "run", "training.weights=best", "trainer.max_epochs=5"), 2, "training.weights=best needs a",
    ),
}  # fmt: skip


def make_starter(name: str, folder: str) -> Callable[[], None]:
    """Return a function that runs a command in a folder, and fails if its message is another than expected."""
    words, status, message = COMMANDS[name]

    def start() -> None:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=make_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != status or message not in done.stdout + done.stderr:
            raise RuntimeError(f"{name}: exit status {done.returncode}\n{done.stdout}{done.stderr}")

    return start


def main() -> None:
    """Measure all in turn."""
    rounds = make_parser(__doc__, rounds=3).parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        times = time_variants({name: make_starter(name, folder) for name in COMMANDS}, rounds)
    lightning = times.pop("lightning")
    ready = times.pop("training_ready")
    for name, timing in times.items():
        print_result(f"start_{name}", timing.seconds, "s", **timing.notes)
    ratio = lightning.seconds / ready.seconds
    print_result("start_training_ready", ready.seconds, "s", "import pytorch_lightning", ratio, **ready.notes)


if __name__ == "__main__":
    main()
