"""How many processes load images where nobody has said it."""

import pytest
from helpers.experiments import config

from llpp.config.loader_workers import count_jobs, count_workers
from llpp.config.read_settings import read_loader_settings

GIB = 2**30


@pytest.mark.parametrize(
    ("cores", "processes", "batch_bytes", "free_bytes", "expected"),
    [
        (4, 1, 1000, GIB, 3),  # a core is left for the process itself
        (16, 1, 1000, GIB, 8),  # the most that helps
        (96, 8, 1000, GIB, 8),
        (16, 4, 1000, GIB, 3),
        (1, 1, 1000, GIB, 0),
        (4, 8, 1000, GIB, 0),
        # Of Docker's 64 MiB half: one process with two batches of 16 MiB, none where a batch is larger.
        (16, 1, 16 * 2**20, 64 * 2**20, 1),
        (16, 1, 17 * 2**20, 64 * 2**20, 0),
        (16, 2, 16 * 2**20, 128 * 2**20, 1),
    ],
)
def test_cores_and_shared_memory_are_shared_out(cores, processes, batch_bytes, free_bytes, expected):
    assert count_workers(cores, processes, batch_bytes, free_bytes) == expected


def test_a_gpu_gets_them_and_a_cpu_or_crops_on_the_device_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr("llpp.config.loader_workers._count_cores", lambda: 4)
    monkeypatch.setattr("llpp.config.loader_workers.SHARED_MEMORY", tmp_path)
    unset = ("data.workers=null", "trainer=gpu")
    assert read_loader_settings(config(tmp_path, *unset)).workers == 3
    assert read_loader_settings(config(tmp_path, "data.workers=null")).workers == 0
    resident = ("crop.cache=true", "crop.resident=device")
    assert read_loader_settings(config(tmp_path, *unset, *resident)).workers == 0
    assert read_loader_settings(config(tmp_path, "trainer=gpu", "data.workers=2")).workers == 2


@pytest.mark.parametrize(
    ("side_by_side", "gpus", "jobs_per_gpu", "devices", "expected"),
    [
        (1, 8, None, 1, 1),
        (0, 8, None, 1, 1),  # a cluster's job, of which the sweep knows nothing, has its machine to itself
        (15, 1, None, 1, 15),  # they share the only GPU
        (64, 8, None, 1, 8),  # the others wait
        (64, 8, None, 4, 2),
        (64, 8, 4, 1, 32),
        (6, 1, 4, 1, 4),
        (2, 8, 4, 1, 2),
    ],
)
def test_only_jobs_that_have_a_gpu_count(side_by_side, gpus, jobs_per_gpu, devices, expected):
    assert count_jobs(side_by_side, gpus, jobs_per_gpu, devices) == expected


def test_jobs_of_a_sweep_share_the_cores_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("llpp.config.loader_workers._count_cores", lambda: 4)
    monkeypatch.setattr("llpp.config.loader_workers.SHARED_MEMORY", tmp_path)
    monkeypatch.setenv("LLPP_SIDE_BY_SIDE", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert read_loader_settings(config(tmp_path, "data.workers=null", "trainer=gpu")).workers == 1


def test_without_shared_memory_none_are_started(tmp_path, monkeypatch):
    monkeypatch.setattr("llpp.config.loader_workers.SHARED_MEMORY", tmp_path / "missing")
    assert read_loader_settings(config(tmp_path, "data.workers=null", "trainer=gpu")).workers == 0
