"""Runs of the real command that are hurt from outside, and what they must end like."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import torch
from helpers.command import Command
from helpers.experiments import FIGURES, TINY, rows

KILLS = int(os.environ.get("LLPP_FAULT_KILLS", "2"))  # make faults takes 30
FAULT = "LLPP_TEST_FAULT"  # read by fault_callback.py
CALLBACK = "+callbacks.fault={_target_: fault_callback.Fault}"
RUN = (*TINY, *FIGURES, CALLBACK, "paths.run_dir=run")
TWO_RANKS = ("trainer.devices=2", "rounds=2")


def start(*overrides, cwd, fault="", **more):
    """`llpp run …` in a process of its own; its output goes to files beside the run."""
    cwd.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return Command("run", *overrides, cwd=cwd, **more, **{FAULT: fault, "PYTHONPATH": path})


def finish(*overrides, cwd, **more):
    """The same, waited for; exit code and what it printed as errors."""
    (cwd / "stderr").unlink(missing_ok=True)
    code = start(*overrides, cwd=cwd, **more).wait(timeout=240)
    return code, told(cwd)


def told(cwd):
    """What the last process said on its error output."""
    return (cwd / "stderr").read_text()


def begun(process, cwd, patience=60):
    """Wait until a run has its state file, or has ended."""
    await_file(cwd / "run/state.json", process, patience)


def await_file(path, process, patience=60):
    """Wait for a file, for as long as the process lives."""
    deadline = time.monotonic() + patience
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def ranks(process):
    """Process ids of a launcher's workers, by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"PPid:\t{process.pid}\n" in (folder / "status").read_text():
                environment = dict(e.split("=", 1) for e in (folder / "environ").read_text().split("\0") if "=" in e)
                if "TORCHELASTIC_RUN_ID" in environment:
                    found[int(environment["RANK"])] = int(folder.name)
        except (OSError, UnicodeDecodeError):
            continue
    return found


def alive(pid):
    """Whether a process still runs (a dead one that nobody asked for does not)."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def kill(pid):
    """As the kernel does it when memory runs out."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def outcome(run_dir):
    """Everything about a finished run that must not depend on how often it was interrupted."""
    state = json.loads((run_dir / "state.json").read_text())
    last = torch.load(sorted(run_dir.glob("round_*/last.ckpt"))[-1], weights_only=True)["state_dict"]
    weights = {name: value.numpy().tobytes() for name, value in last.items()}
    return [r["selected"] for r in state["rounds"]], rows(run_dir), weights
