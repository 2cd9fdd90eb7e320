"""Errors of storage blame the place where they happened, and say what to do there."""

import errno
import multiprocessing
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from llpp import storage
from llpp.errors import LlppError
from llpp.files import replace_file

RUN = Path("/disk/runs/a/seed0")
FOLDERS = {"training.base_models": Path("/disk/runs/base_models"), "paths.cache_dir": Path("/fast/crop_cache")}


def make_error(number, path=None):
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (RUN / "state.json", f"cannot write to the run directory {RUN}: No space left on device; the last committed"),
        ("/disk/runs/base_models/ab/last.ckpt", "cannot write to /disk/runs/base_models/ab/last.ckpt: No space left"),
        ("/fast/crop_cache/ab/crops.u8", "choose another paths.cache_dir=…"),
        ("/dev/shm/torch_17", "there is no room for the images of the loaders in /dev/shm (No space left on device)"),
        ("/elsewhere/wandb.log", "/elsewhere/wandb.log cannot be used: No space left on device; make room there and"),
    ],
)
def test_a_full_disk_is_blamed_by_the_file_that_had_no_room(path, sentence):
    told = str(storage.explain_storage_error(make_error(errno.ENOSPC, str(path)), RUN, FOLDERS))
    assert sentence in told and "the last committed round is safe" in told
    assert ("run directory" in told) == (path == RUN / "state.json")


@pytest.mark.parametrize("path", ["/dev/shm/coco/train.json", "/tmp/tmp.coco/train.json"])
def test_a_file_that_is_missing_is_not_taken_for_storage_that_is_full(path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    told = storage.describe_os_error(make_error(errno.ENOENT, path))
    assert told.startswith(f"{path} cannot be used: No such file or directory; check its spelling (HYDRA_FULL_ERROR")


def test_an_error_that_names_no_file_and_is_not_about_room_does_not_blame_the_run_directory():
    told = str(storage.explain_storage_error(make_error(errno.EACCES), RUN, FOLDERS))
    assert told.startswith("the system refuses: Permission denied; ") and "run directory" not in told


def test_loading_processes_without_shared_memory_are_refused_with_the_setting_that_goes_without(monkeypatch):
    def refuse():
        # What a semaphore gets where /dev/shm is another user's: an error without a file.
        raise PermissionError(errno.EACCES, "Permission denied")

    storage.check_shared_memory(2)
    monkeypatch.setattr(multiprocessing, "Lock", refuse)
    storage.check_shared_memory(0)
    expected = r"^data.workers=2 needs .* /dev/shm refuses it \(Permission denied\); set data.workers=0"
    with pytest.raises(LlppError, match=expected):
        storage.check_shared_memory(2)


def test_temporary_files_are_told_from_a_users_own_in_that_folder(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/scratch")
    error = make_error(errno.ENOSPC, "/scratch/pymp-x1/listener-0")
    told = str(storage.explain_storage_error(error, RUN, FOLDERS))
    assert told.startswith("cannot write temporary files (/scratch/pymp-x1/listener-0): No space left on device; ")
    assert "set the environment variable TMPDIR to another folder" in told and "run directory" not in told
    mine = storage.describe_os_error(make_error(errno.EACCES, "/scratch/mine/table.csv"))
    assert mine.startswith("/scratch/mine/table.csv cannot be used: Permission denied; give permission")


@pytest.mark.parametrize(
    ("full", "sentence"),
    [
        ("/scratch", "cannot write temporary files (/scratch)"),
        ("/fast/crop_cache", "choose another paths.cache_dir=…"),
        (str(RUN), f"cannot write to the run directory {RUN}"),
        (None, f"cannot write to the run directory {RUN}"),
    ],
)
def test_an_error_without_a_file_blames_the_folder_that_is_full(full, sentence, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/scratch")

    def statvfs(folder):
        free = 0 if str(folder) == full else 1000
        return SimpleNamespace(f_bavail=free, f_files=10, f_favail=10)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert sentence in str(storage.explain_storage_error(make_error(errno.ENOSPC), RUN, FOLDERS))


def test_an_error_that_a_loading_process_sent_is_read_from_its_text():
    text = "Caught OSError in DataLoader worker process 0.\nOriginal Traceback …\n"
    error = OSError(f"{text}OSError: [Errno 5] Input/output error: '/data/im1.jpg'\n")
    with pytest.raises(LlppError, match=r"^/data/im1.jpg cannot be used: Input/output error; check that storage"):
        raise_explained(error)


def raise_explained(error):
    with storage.explain_os_errors():
        raise error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (make_error(errno.ENAMETOOLONG, "xx"), "xx cannot be used: File name too long; choose a shorter one (HYDRA_"),
        (make_error(errno.EMFILE), "the system refuses: Too many open files; raise the limit (ulimit -n 4096), or"),
        (make_error(errno.ENOSPC), "what is printed cannot be written: No space left on device; make room where it"),
        (make_error(errno.ESTALE, "/nfs/a"), "/nfs/a cannot be used: Stale file handle; check that storage and run"),
    ],
)
def test_errors_of_the_system_become_a_sentence(error, sentence):
    with pytest.raises(LlppError) as raised:
        raise_explained(error)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    "error", [ConnectionResetError(errno.ECONNRESET, "reset"), OSError("no number"), KeyError(1)]
)
def test_errors_of_connections_and_of_code_keep_their_traceback(error):
    with pytest.raises(type(error)) as raised:
        raise_explained(error)
    assert raised.value is error


def test_a_write_that_fails_says_which_file_it_was_for(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        replace_file(tmp_path / "state.json", lambda part: full.write_text("{}"))
    assert raised.value.filename == str(tmp_path / "state.json")
