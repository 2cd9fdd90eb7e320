"""After a process is killed its workers end, and a new run waits for locks that its loaders still hold."""

import os
import time
from pathlib import Path

import pytest
from helpers import forked

from llpp import errors
from llpp.launch import signals
from llpp.run_dir import lock

pytestmark = pytest.mark.slow


def launcher(pipe):
    """Start a worker, and wait."""
    worker = os.fork()
    if worker == 0:
        signals.die_with_parent(os.getppid())
        pipe.send(os.getpid())
    time.sleep(60)
    return worker


def late_worker(pipe):
    """Begin when the launcher has been killed already, and another process has adopted this one."""
    try:
        signals.die_with_parent(os.getppid() + 1)
    except SystemExit as left:
        pipe.send(left.code)


def owner(pipe, run_dir, seconds):
    """Lock a run directory and start a loader, which inherits the open lock."""
    with lock.lock_run_dir(run_dir):
        if os.fork() == 0:
            time.sleep(seconds)
            os._exit(0)
        pipe.send(os.getpid())
        time.sleep(60)


def started(work, *arguments):
    """Start a process; return it and the first message that it sends."""
    ours, theirs = forked.context().Pipe()
    process = forked.context().Process(target=work, args=(theirs, *arguments))
    process.start()
    assert ours.poll(30)
    return process, ours.recv()


def ended(pid, patience=10.0):
    """Whether a process ends within `patience` seconds."""
    deadline = time.monotonic() + patience
    while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_worker_ends_with_its_launcher_however_that_ends():
    process, worker = started(launcher)
    assert not ended(worker, patience=0.2)
    process.kill()
    process.join()
    assert ended(worker)
    assert started(late_worker)[1] == 1


def test_a_lock_that_loaders_of_a_killed_run_still_hold_is_waited_for(tmp_path):
    process, _ = started(owner, tmp_path, 1.5)
    with (
        pytest.raises(errors.OccupiedError, match=f"is in use by process {process.pid} on"),
        lock.lock_run_dir(tmp_path),
    ):
        pass
    process.kill()
    process.join()
    since = time.monotonic()
    with lock.lock_run_dir(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert time.monotonic() - since > 0.1, "the loader lived on for a while"
