"""One rank fails, hangs, is killed or is told to stop: the job ends, says so, and goes on by the same command."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import CALLBACK, KILLS, RUN, TWO_RANKS, alive, await_file, finish, kill, outcome, ranks, start, told
from helpers import rank_work
from helpers.rank_processes import on_ranks

pytestmark = pytest.mark.slow
LONG = pytest.mark.skipif(KILLS < 10, reason="takes minutes: make faults")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """How a run on two ranks ends when nothing happens."""
    run_dir = tmp_path_factory.mktemp("undisturbed")
    on_ranks(2, rank_work.rounds, run_dir, CALLBACK, *TWO_RANKS)
    return outcome(run_dir)


def test_a_killed_rank_is_reported_and_the_same_command_ends_as_if_nothing_had_happened(undisturbed, tmp_path):
    code, said = finish(*RUN, *TWO_RANKS, cwd=tmp_path, fault="kill:1:1:1")
    assert code == 2 and "rank 1 failed: it was killed (SIGKILL), as the system does when memory runs out" in said
    assert "Run the same command again to resume from the last commit" in said
    ends_undisturbed(undisturbed, tmp_path)


@LONG
def test_ranks_end_when_asked_to_and_with_their_launcher(undisturbed, tmp_path):
    job = start(*RUN, *TWO_RANKS, cwd=tmp_path, fault="hang:1:1:0")  # one in Python, one inside a collective
    await_file(tmp_path / "run/rounds.csv", job)
    processes = ranks(job)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=40) == 128 + signal.SIGTERM
    assert sorted(processes) == [0, 1] and not any(map(alive, processes.values()))
    remedy = "finished work is kept, run the same command again to resume: llpp run crop.size=32"
    assert f"llpp: interrupted (SIGTERM); {remedy}" in told(tmp_path)

    job = start(*RUN, *TWO_RANKS, cwd=tmp_path, fault="hang:1:1:1")
    await_file(tmp_path / "run/round_01/last.ckpt", job)
    processes = ranks(job)
    kill(job.pid)  # the launcher, which cannot end its ranks any more
    job.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, processes.values())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sorted(processes) == [0, 1] and not any(map(alive, processes.values()))
    ends_undisturbed(undisturbed, tmp_path)


def ends_undisturbed(undisturbed, cwd):
    if KILLS < 10:  # the same without the seconds that three processes take to import torch
        on_ranks(2, rank_work.rounds, cwd / "run", CALLBACK, *TWO_RANKS)
    else:
        code, said = finish(*RUN, *TWO_RANKS, cwd=cwd)
        assert code == 0, said
    assert outcome(cwd / "run") == undisturbed


def test_a_failing_rank_ends_its_job_with_its_traceback_and_the_next_job_of_the_sweep_runs(tmp_path):
    sweep = ("-m", *RUN[:-1], "trainer.devices=2,1", "name=d${trainer.devices}", "rounds=1", "trainer.max_epochs=1")
    code, said = finish(*sweep, cwd=tmp_path, fault="raise:1:0:0")
    assert code == 1 and "2 jobs: 1 done, 1 failed" in said
    assert "failed: runs/d2/seed0: rank 1 failed: ValueError: a fault of the test; its traceback is above" in said
    assert 'raise ValueError("a fault of the test")' in said, "the traceback"
    assert (tmp_path / "runs/d1/seed0/rounds.csv").exists()


@LONG
def test_a_hanging_rank_ends_the_job_when_the_others_have_waited_long_enough(tmp_path):
    code, said = finish(
        *RUN, "trainer.devices=2", "launch.rank_timeout=4", "rounds=1", cwd=tmp_path, fault="hang:1:0:1"
    )
    assert code == 2 and "rank 0 failed: " in said and "imed out" in said


@LONG
def test_joblib_runs_jobs_of_several_ranks_side_by_side_each_in_its_own_directory(tmp_path):
    sweep = ("-m", *RUN[:-1], "trainer.devices=2", "seed=0,1", "name=side", "rounds=1", "hydra/launcher=joblib")
    done = subprocess.run(
        [sys.executable, "-m", "llpp", "run", *sweep, "hydra.launcher.n_jobs=2"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "2 jobs: 2 done" in done.stderr, done.stderr
    states = [json.loads((tmp_path / f"runs/side/seed{seed}/state.json").read_text()) for seed in (0, 1)]
    assert states[0]["initial"] != states[1]["initial"]


@LONG
@pytest.mark.parametrize("machines", [1, 2])
def test_torchrun_by_hand_runs_one_job_on_one_or_several_machines(machines, undisturbed, tmp_path):
    """Two agents on one machine stand for two machines; they share its disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    each = 2 // machines
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={machines}", f"--nproc-per-node={each}",
        "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=test",
    ]  # fmt: skip
    command = [
        *torchrun,
        "-m",
        "llpp",
        "run",
        *RUN,
        "rounds=2",
        f"trainer.devices={each}",
        f"trainer.num_nodes={machines}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    jobs = [subprocess.Popen(command, cwd=tmp_path, env=environment) for _ in range(machines)]
    assert [job.wait(timeout=200) for job in jobs] == [0] * machines
    assert outcome(tmp_path / "run") == undisturbed


@LONG
def test_a_sweep_inside_torchrun_ends_at_its_first_failure_and_goes_on_by_the_same_command(tmp_path):
    """Its ranks could otherwise be in different jobs."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    jobs = ("rounds=1", "trainer.devices=2", "crop.size=48,32", "name=s${crop.size}", "trainer.max_epochs=1")
    command = [*torchrun, "-m", "llpp", "run", "-m", *RUN[:-1], *jobs]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode and "crop.size=48 does not fit" in done.stderr
    assert not (tmp_path / "runs/s32/seed0/state.json").exists()
    mended = [argument.replace("48,32", "64,32") for argument in command]
    done = subprocess.run(mended, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / f"runs/s{size}/seed0/state.json").exists() for size in (32, 64))


@LONG
def test_a_compiled_network_trains_on_two_ranks_as_an_uncompiled_one(undisturbed, tmp_path):
    code, said = finish(*RUN, *TWO_RANKS, "training.compile=aot_eager", cwd=tmp_path)
    assert code == 0, said
    for ours, theirs in zip(outcome(tmp_path / "run")[1], undisturbed[1], strict=True):
        assert float(ours["test_loss"]) == pytest.approx(float(theirs["test_loss"]), rel=1e-2)
