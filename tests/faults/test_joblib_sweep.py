"""The workers of a sweep end when their parent does, and when they are told to; the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import CALLBACK, FAULT, KILLS
from helpers.experiments import FIGURES, TINY

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the sweep extra")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc"),
]
LONG = pytest.mark.skipif(KILLS < 10, reason="takes minutes: make faults")
MARK = "LLPP_TEST_SWEEP"  # variable by which all processes of one sweep are known
HANG = "hang:0:0:1"  # in the second epoch of each job
SWEEP = (
    *TINY, *FIGURES, CALLBACK, "-m", "rounds=1", "seed=0,1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
)  # fmt: skip


class Sweep:
    """`llpp run -m …` with three jobs for two workers, and all of its processes."""

    def __init__(self, cwd, *overrides, fault=HANG):
        self.cwd = cwd
        self.mark = f"{MARK}={cwd}".encode()
        self.output = cwd / "output"
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llpp", "run", *SWEEP, *overrides],
                cwd=cwd, stdout=file, stderr=file,
                env={**os.environ, MARK: str(cwd), FAULT: fault, "PYTHONPATH": path},
            )  # fmt: skip

    def list_processes(self):
        """Process ids with their command lines, whoever their parent is by now."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and self.mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has ended
        return found

    def list_workers(self):
        return [pid for pid, command in self.list_processes().items() if "LokyProcess" in command]

    def await_hanging_jobs(self):
        """Wait until both workers hang in a job whose first epoch is in its checkpoint."""
        deadline = time.monotonic() + 120
        while len(list(self.cwd.glob("runs/*/seed*/round_00/last.ckpt"))) < 2:
            assert self.process.poll() is None and time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)
        time.sleep(0.5)

    def has_ended(self, within):
        """Whether all processes end within some seconds; ends them if not."""
        deadline = time.monotonic() + within
        while self.list_processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        left = self.list_processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return not left


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=LONG)])
def test_all_processes_of_a_sweep_end_with_a_killed_parent_and_the_same_command_finishes_it(devices, tmp_path):
    options = (f"trainer.devices={devices}", f"data.workers={devices - 1}")
    sweep = Sweep(tmp_path, *options)
    sweep.await_hanging_jobs()
    assert len(sweep.list_workers()) == 2
    sweep.process.kill()
    sweep.process.wait()
    assert sweep.has_ended(within=10)
    assert len(list(tmp_path.glob("runs/*/seed*"))) == 2, "no worker has begun the job that was left"

    again = Sweep(tmp_path, *options, fault="")
    assert again.process.wait(timeout=240) == 0, again.output.read_text()
    assert "3 jobs: 3 done" in again.output.read_text()


def test_a_worker_that_is_told_to_end_does_so_and_the_sweep_says_it(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.await_hanging_jobs()
    os.kill(sweep.list_workers()[0], signal.SIGTERM)
    assert sweep.process.wait(timeout=30) == 2
    assert sweep.has_ended(within=10)
    said = sweep.output.read_text()
    assert "Traceback" not in said
    assert "llpp: a process that ran jobs of this sweep has ended (EXIT(143)), because it was stopped or" in said


@LONG
def test_a_sweep_that_is_told_to_end_takes_its_workers_along_and_names_the_command(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.await_hanging_jobs()
    sweep.process.terminate()
    assert sweep.process.wait(timeout=30) == 128 + signal.SIGTERM
    assert sweep.has_ended(within=10)
    assert "llpp: interrupted (SIGTERM); finished work is kept, run the same command" in sweep.output.read_text()
