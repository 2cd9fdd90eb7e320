"""Jobs of sweeps on GPUs: one each, or several on each that are spread evenly. No test here needs a GPU."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from helpers.experiments import config

from llpp.launch import gpu_places
from llpp.launch.gpu_places import name_gpus, rank_gpus, reserve_gpus
from llpp.launch.job import run_unless_done


def test_no_two_jobs_have_one_gpu_and_the_third_waits(tmp_path):
    events = []

    def job(_):
        with reserve_gpus(2, 1, 1, tmp_path, patience=0.01) as (number,):
            events.append(("takes", number))
            time.sleep(0.05)
            events.append(("leaves", number))

    with ThreadPoolExecutor(5) as jobs:
        list(jobs.map(job, range(5)))
    held = set()
    most = 0
    for what, number in events:
        if what == "takes":
            assert number not in held and number in (0, 1)
            held.add(number)
            most = max(most, len(held))
        else:
            held.remove(number)
    assert len(events) == 10 and most == 2, "both are used, side by side"


def test_a_gpu_is_known_by_its_place_on_the_machine(tmp_path, monkeypatch):
    """Two jobs that see different GPUs as their number 0 do not wait for each other."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with reserve_gpus(2, 1, 1, tmp_path) as first:
        assert first == [0]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
        with reserve_gpus(2, 1, 1, tmp_path) as second:
            assert second == [0]
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
            with reserve_gpus(2, 1, 1, tmp_path) as third:
                assert third == [1]


def test_a_job_that_wants_two_gpus_gets_both_at_once_or_none(tmp_path):
    with reserve_gpus(3, 1, 1, tmp_path) as one, reserve_gpus(3, 2, 1, tmp_path) as two:
        assert one == [0] and two == [1, 2]
    with reserve_gpus(3, 2, 1, tmp_path) as two, ThreadPoolExecutor(1) as waiting:
        later = waiting.submit(lambda: reserve_gpus(3, 2, 1, tmp_path, patience=0.01).__enter__())
        time.sleep(0.1)
        # The job that waits for two does not hold this one in the meantime.
        with reserve_gpus(3, 1, 1, tmp_path) as third:
            assert two == [0, 1] and third == [2] and not later.done()
        # New lock files let it in.
        (tmp_path / "0.lock").unlink()
        (tmp_path / "1.lock").unlink()
    assert later.result() == [0, 1]


@pytest.mark.parametrize(("wanted", "taken"), [(1, [0]), (2, [0, 1]), (3, None)])
def test_a_job_locks_the_gpus_that_it_uses_even_if_these_are_all(wanted, taken, tmp_path, monkeypatch):
    """The test needs no GPU. A job that wants more GPUs than there are fails when it begins."""
    calls = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("llpp.launch.job.run_job", lambda cfg, gpus=None: calls.append(gpus) or "done")
    monkeypatch.setattr(gpu_places.tempfile, "gettempdir", lambda: str(tmp_path))
    cfg = config(tmp_path / "run", "trainer=ddp", f"trainer.devices={wanted}", "data.batch_size=12")
    assert run_unless_done(cfg) == "done" and calls == [taken]


@pytest.mark.parametrize(
    ("jobs", "most", "ranked"),
    [
        ([0, 0, 0], 2, [0, 1, 2]),
        ([1, 0, 2], 3, [1, 0, 2]),
        ([2, 1, 2], 2, [1]),
        ([2, 2], 2, []),
        ([5, 3], 4, [1]),  # another sweep may have put more jobs on a GPU
    ],
)
def test_the_emptiest_gpu_comes_first_and_full_ones_are_left_out(jobs, most, ranked):
    assert rank_gpus(jobs, most) == ranked


def test_jobs_that_share_gpus_are_spread_evenly_and_the_place_of_one_that_ends_is_the_next_ones(tmp_path):
    def reserve():
        return reserve_gpus(2, 1, 2, tmp_path, patience=0.01)

    jobs = [reserve() for _ in range(4)]
    assert [job.__enter__() for job in jobs] == [[0], [1], [0], [1]]
    with ThreadPoolExecutor(1) as waiting:
        fifth = reserve()
        placed = waiting.submit(fifth.__enter__)
        time.sleep(0.1)
        assert not placed.done()
        jobs[1].__exit__(None, None, None)
        assert placed.result(timeout=10) == [1]
    # GPU 0 has none left, GPU 1 two.
    jobs[0].__exit__(None, None, None)
    jobs[2].__exit__(None, None, None)
    with reserve() as first, reserve() as second:
        assert (first, second) == ([0], [0])


def test_however_many_jobs_start_at_once_no_gpu_has_more_than_its_number(tmp_path):
    events = []

    def job(_):
        with reserve_gpus(2, 1, 3, tmp_path, patience=0.005) as (number,):
            events.append((number, 1))
            time.sleep(0.05)
            events.append((number, -1))

    with ThreadPoolExecutor(12) as jobs:
        list(jobs.map(job, range(12)))
    now = [0, 0]
    most = [0, 0]
    for number, change in events:
        now[number] += change
        most[number] = max(most[number], now[number])
    assert most == [3, 3] and now == [0, 0]


def test_a_job_that_wants_a_gpu_alone_and_jobs_that_share_one_leave_it_to_each_other(tmp_path):
    with reserve_gpus(2, 1, 1, tmp_path) as alone, reserve_gpus(2, 1, 2, tmp_path) as sharing:
        assert (alone, sharing) == ([0], [1])
        with reserve_gpus(2, 1, 2, tmp_path) as second, ThreadPoolExecutor(1) as waiting:
            assert second == [1], "GPU 0 has fewer jobs, but its job is to have it alone"
            later = reserve_gpus(2, 2, 1, tmp_path, patience=0.01)
            whole = waiting.submit(later.__enter__)
            time.sleep(0.05)
            assert not whole.done()
            (tmp_path / "0.lock").unlink()
            (tmp_path / "1.lock").unlink()
    assert whole.result() == [0, 1]


def test_jobs_of_a_sweep_with_more_places_are_counted(tmp_path):
    with ExitStack() as jobs:
        for _ in range(3):
            jobs.enter_context(reserve_gpus(1, 1, 4, tmp_path))
        with ThreadPoolExecutor(1) as waiting:
            stack = ExitStack()
            later = waiting.submit(stack.enter_context, reserve_gpus(1, 1, 2, tmp_path, patience=0.01))
            time.sleep(0.05)
            assert not later.done()
            jobs.close()
            assert later.result(timeout=10) == [0]
            stack.close()


def hold_a_place(folder, placed):
    with reserve_gpus(1, 1, 1, folder):
        placed.set()
        time.sleep(60)


@pytest.mark.slow
def test_a_job_that_is_killed_leaves_its_place(tmp_path):
    context = multiprocessing.get_context("fork")
    placed = context.Event()
    job = context.Process(target=hold_a_place, args=(tmp_path, placed))
    job.start()
    assert placed.wait(10)
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    with reserve_gpus(1, 1, 1, tmp_path) as numbers:
        assert numbers == [0]


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        ("", 2, ["0", "1"]),
        ("2,3", 2, ["2", "3"]),
        ("GPU-8932f937,GPU-17a3bb02", 2, ["GPU-8932f937", "GPU-17a3bb02"]),
        ("MIG-GPU-8932f937/1/0", 1, ["MIG-GPU-8932f937_1_0"]),
        ("3, 1", 2, ["3", "1"]),
        ("2,3,-1", 2, ["2", "3"]),  # CUDA ignores what follows a number that it does not know
    ],
)
def test_gpus_are_known_by_the_names_in_cuda_visible_devices(visible, count, names, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert name_gpus(count) == names
    with ExitStack() as jobs:
        placed = [jobs.enter_context(reserve_gpus(count, 1, 2, tmp_path)) for _ in range(2 * count)]
    assert sorted(placed) == sorted([[number] for number in range(count)] * 2)


@pytest.mark.parametrize(
    ("gpus", "setting", "taken"),
    [(1, "null", None), (1, "1", [0]), (1, "2", [0]), (2, "null", [1]), (2, "2", [1])],
)
def test_the_only_gpu_of_a_machine_is_for_all_jobs_unless_a_number_is_set(
    gpus, setting, taken, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr("llpp.launch.job.run_job", lambda cfg, gpus=None: calls.append(gpus) or "done")
    monkeypatch.setattr(gpu_places.tempfile, "gettempdir", lambda: str(tmp_path))
    cfg = config(
        tmp_path / "run", "trainer=gpu", f"launch.jobs_per_gpu={setting}", "hydra.mode=MULTIRUN",
        "hydra/launcher=joblib",
    )  # fmt: skip
    with ExitStack() as other:
        if gpus == 2:
            folder = tmp_path / f"llpp-gpus-{os.getuid()}"
            other.enter_context(reserve_gpus(2, 1, 1 if setting == "null" else 2, folder))
        assert run_unless_done(cfg) == "done"
    assert calls == [taken]
