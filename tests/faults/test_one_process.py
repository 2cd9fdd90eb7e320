"""A run on its own is killed, stopped, starved of memory or of disk: it says so, and goes on by the same command."""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from harness import KILLS, RUN, TWO_RANKS, await_file, begun, finish, kill, outcome, ranks, start, told

pytestmark = pytest.mark.slow
LONG = pytest.mark.skipif(KILLS < 10, reason="takes minutes: make faults")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """How a run ends when nothing happens, and the seconds that it took from its first file on."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    process = start(*RUN, cwd=cwd)
    begun(process, cwd)
    since = time.monotonic()
    assert process.wait(timeout=120) == 0, told(cwd)
    return outcome(cwd / "run"), time.monotonic() - since


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_run_killed_at_any_moments_ends_as_an_undisturbed_one(seed, undisturbed, tmp_path):
    expected, seconds = undisturbed
    moments, kills = random.Random(seed), 0
    while True:
        process = start(*RUN, cwd=tmp_path, fault="")
        if kills < 1 + seed % 2:  # every second one is killed twice
            begun(process, tmp_path)
            time.sleep(moments.uniform(0, 1.2 * seconds))
            kills += process.poll() is None
            kill(process.pid)
        if (code := process.wait(timeout=120)) == 0:
            break
        assert code == -signal.SIGKILL, told(tmp_path)
    print(f"seed {seed}: killed {kills} times")
    assert outcome(tmp_path / "run") == expected


@LONG
@pytest.mark.parametrize("seed", range(KILLS // 2))
def test_one_of_two_ranks_killed_at_any_moment_changes_nothing(seed, tmp_path_factory, tmp_path):
    home = Path(tmp_path_factory.getbasetemp()) / "two"
    if not home.exists():
        code, said = finish(*RUN, *TWO_RANKS, cwd=home)
        assert code == 0, said
    moments = random.Random(1000 + seed)
    job = start(*RUN, *TWO_RANKS, cwd=tmp_path)
    begun(job, tmp_path)
    time.sleep(moments.uniform(0, 6))
    victim = moments.choice([job.pid, *ranks(job).values()])
    kill(victim)
    code = job.wait(timeout=120)
    print(f"seed {seed}: victim {victim} of {job.pid}, exit {code}")
    code, said = finish(*RUN, *TWO_RANKS, cwd=tmp_path)
    assert code == 0, said
    assert outcome(tmp_path / "run") == outcome(home / "run")


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGUSR1", marks=LONG)])
def test_a_run_that_is_told_to_stop_does_so_in_order_and_names_the_command_that_goes_on(name, undisturbed, tmp_path):
    process = start(*RUN, cwd=tmp_path, fault="hang:0:1:1")
    await_file(tmp_path / "run/round_01/last.ckpt", process)
    time.sleep(0.5)  # into the second epoch
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=15) == 128 + getattr(signal, name)
    remedy = "finished work is kept, run the same command again to resume: llpp run crop.size=32"
    assert f"llpp: interrupted ({name}); {remedy}" in told(tmp_path)
    code, said = finish(*RUN, cwd=tmp_path)
    assert code == 0, said
    assert outcome(tmp_path / "run") == undisturbed[0]


@pytest.mark.parametrize("moment", ["stop_in_destructor", "stop_in_half_made_loader"])
def test_a_signal_is_obeyed_even_where_what_it_raises_gets_lost(moment, undisturbed, tmp_path):
    code, said = finish(*RUN, cwd=tmp_path, fault=f"{moment}:0:1:1")
    assert code == 128 + signal.SIGTERM and "llpp: interrupted (SIGTERM); finished work is kept" in said
    kept = torch.load(tmp_path / "run/round_01/last.ckpt", weights_only=True)
    assert kept["epoch"] == 0, "it went on with the second epoch"
    code, said = finish(*RUN, cwd=tmp_path)
    assert code == 0, said
    assert outcome(tmp_path / "run") == undisturbed[0]


def test_memory_that_runs_out_names_the_settings_to_lower(tmp_path):
    code, said = finish(*RUN, cwd=tmp_path, fault="memory:0:0:0")
    assert code == 2 and "Traceback" not in said
    assert "if that was in scoring, lower data.eval_batch_size=64 and run the same command again" in said
    assert "if it was in training, lower data.batch_size=4, crop.size=32 or the backbone's width, which is" in said


def test_a_loader_that_the_kernel_killed_is_told(tmp_path):
    code, said = finish(*RUN, "data.workers=1", cwd=tmp_path, fault="kill_loaders:0:0:1")
    assert code == 2 and "Traceback" not in said
    assert "a process that loads images has ended" in said and "lower data.workers=1" in said


def test_files_that_may_not_grow_stop_the_run_and_leave_its_last_commit(undisturbed, tmp_path):
    """As a quota or a full disk does in the middle of a checkpoint."""
    code, said = finish(*RUN, cwd=tmp_path, limit=40_000)
    assert code == 2 and "Traceback" not in said
    assert "cannot write to the run directory run" in said and "the last committed round is safe" in said
    code, said = finish(*RUN, cwd=tmp_path)
    assert code == 0, said
    assert outcome(tmp_path / "run") == undisturbed[0]


def test_a_run_directory_that_becomes_read_only_stops_the_run_and_leaves_its_last_commit(undisturbed, tmp_path):
    process = start(*RUN, cwd=tmp_path, fault="wait:0:1:0", ordinary=True)
    await_file(tmp_path / "run/rounds.csv", process)
    folders = [tmp_path / "run", *(f for f in (tmp_path / "run").rglob("*") if f.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    assert process.wait(timeout=60) == 2
    said = told(tmp_path)
    assert "Traceback" not in said and "cannot write to the run directory run" in said and "Permission denied" in said
    assert "the last committed round is safe" in said

    code, said = finish(*RUN, cwd=tmp_path, ordinary=True)  # nor does it begin there
    assert code == 2 and "Traceback" not in said and "run is read-only, or not yours to write to" in said

    for folder in folders:
        folder.chmod(0o755)
    code, said = finish(*RUN, cwd=tmp_path)
    assert code == 0, said
    assert outcome(tmp_path / "run") == undisturbed[0]


def test_a_run_directory_that_is_taken_away_is_missed(tmp_path):
    process = start(*RUN, cwd=tmp_path, fault="wait:0:1:0")
    await_file(tmp_path / "run/rounds.csv", process)
    shutil.rmtree(tmp_path / "run")
    assert process.wait(timeout=60) == 2
    assert "run was removed or replaced while this run was using it" in told(tmp_path)
    assert not (tmp_path / "run/state.json").exists(), "no half of a run in its place"
