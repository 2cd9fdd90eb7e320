"""A file system without flock(2): one job uses a run directory, and where that is not known, a second is noticed."""

import errno
import fcntl
import logging
import os
import socket
import subprocess
import tempfile

import pytest
import torch

from llpp.data.crop_cache import catalogue
from llpp.errors import OccupiedError, StateError
from llpp.run_dir.checkpoints import AtomicCheckpointIO
from llpp.run_dir.lock import check_lock_held, lock_run_dir

HOST = socket.gethostname()


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524])
def _without_locks(request, monkeypatch):
    def flock(file, kind):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("_without_locks")
def test_a_run_directory_is_used_with_a_warning_and_left_free(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), lock_run_dir(tmp_path):
        assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {HOST}\n"
        check_lock_held(tmp_path)
    assert (tmp_path / "lock").read_text() == ""
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{tmp_path}: its storage has no file locks; start no second job in it from another machine"
    )


@pytest.fixture
def other_process():
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.usefixtures("_without_locks")
def test_a_live_owner_on_this_machine_is_found_by_its_process(tmp_path, other_process):
    (tmp_path / "lock").write_text(f"process {other_process} on {HOST}\n")
    with pytest.raises(OccupiedError, match=f"is in use by process {other_process} on"), lock_run_dir(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == f"process {other_process} on {HOST}\n"


@pytest.mark.usefixtures("_without_locks")
def test_an_owner_that_was_killed_leaves_the_run_directory_free(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    (tmp_path / "lock").write_text(f"process {process.pid} on {HOST}\n")
    with lock_run_dir(tmp_path):
        check_lock_held(tmp_path)


@pytest.mark.usefixtures("_without_locks")
def test_of_two_jobs_on_two_machines_the_first_ends_when_it_commits(tmp_path, caplog):
    (tmp_path / "lock").write_text("process 7 on node12\n")
    with caplog.at_level(logging.WARNING), lock_run_dir(tmp_path):
        assert "(process 7 on node12 used it last, and may still do so)" in caplog.text
        (tmp_path / "lock").write_text("process 9 on node13\n")
        with pytest.raises(StateError, match=r"process 9 on node13 has begun to use .* while this run was using it"):
            check_lock_held(tmp_path)
    assert (tmp_path / "lock").read_text() == "process 9 on node13\n", "it is the other's"


@pytest.mark.usefixtures("_without_locks")
def test_a_crop_cache_that_may_be_in_use_is_not_removed(tmp_path):
    (tmp_path / "ab12").mkdir()
    (tmp_path / "ab12/cache.json").write_text("{}")
    with pytest.raises(StateError, match=r"its storage has no file locks, .* delete the folder yourself"):
        catalogue.remove_caches(tmp_path, "ab12")


def test_other_errors_of_a_lock_are_not_taken_for_storage_without_locks(tmp_path, monkeypatch):
    def flock(file, kind):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), lock_run_dir(tmp_path):
        pass


def test_a_second_task_of_srun_is_told_how_llpp_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with (
        lock_run_dir(tmp_path),
        pytest.raises(OccupiedError, match=r"srun has started this command 4 times; .* srun --ntasks=1 llpp run"),
        lock_run_dir(tmp_path),
    ):
        pass


def test_a_checkpoint_needs_no_room_among_the_temporary_files(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("mkstemp", "mkdtemp", "TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    AtomicCheckpointIO().save_checkpoint({"weights": torch.arange(3)}, tmp_path / "last.ckpt")
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")["weights"].tolist() == [0, 1, 2]
