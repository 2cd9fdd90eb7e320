"""Sweeps: every job in its own folder, failures listed at the end, nothing done twice."""

import json
import os

import pytest
from helpers.cli import llpp
from helpers.experiments import FIGURES, TINY, config, rows

from llpp.launch import sweep
from llpp.launch.job import job, run_job
from llpp.run_dir import lock

JOBS = ("rounds=2", "seed=0,1", "crop.size=32,48", "name=s${crop.size}", "trainer.max_epochs=1")
LONG = pytest.mark.skipif("LLPP_FAULT_KILLS" not in os.environ, reason="takes minutes with its like: make faults")


@pytest.mark.slow
def test_a_failed_job_stops_no_other_and_is_listed_at_the_end_and_the_same_command_runs_only_the_rest(tmp_path):
    first = llpp("run", "-m", *TINY, *FIGURES, *JOBS, cwd=tmp_path)
    runs = tmp_path / "runs"
    assert sorted(str(p.parent.relative_to(runs)) for p in runs.rglob("state.json")) == ["s32/seed0", "s32/seed1"]
    assert rows(runs / "s32/seed0") != rows(runs / "s32/seed1")
    summary = first.stderr.splitlines()[-4:]
    assert first.returncode == 1 and summary[0] == "4 jobs: 2 done, 2 failed"
    assert summary[3] == "when that is corrected, the same command starts the jobs that are not done"
    for seed, line in enumerate(summary[1:3]):
        assert line.startswith(f"failed: runs/s48/seed{seed}: crop.size=48 does not fit the backbone")
        reason = json.loads((runs / f"s48/seed{seed}/failed.json").read_text())["reason"]
        assert reason.startswith("crop.size=48 does not fit")
    assert "Traceback" not in first.stderr and "Callback" not in first.stderr
    assert not list(runs.glob(".sweep*"))
    begun = [line for line in first.stdout.splitlines() if line.startswith("job ")]
    assert [line.partition(" · ")[0] for line in begun] == [
        "job 1 of 4: runs/s32/seed0", "job 2 of 4: runs/s32/seed1", "job 3 of 4: runs/s48/seed0",
        "job 4 of 4: runs/s48/seed1",
    ]  # fmt: skip
    assert [" · about " in line for line in begun] == [False, True, True, True]

    before = (runs / "s32/seed0/state.json").stat().st_mtime_ns
    again = llpp("run", "-m", *TINY, *FIGURES, *JOBS[:2], *JOBS[3:], "crop.size=32", cwd=tmp_path)
    assert again.returncode == 0 and again.stderr.splitlines()[-1] == "2 jobs: 2 done before"
    assert (runs / "s32/seed0/state.json").stat().st_mtime_ns == before

    fixed = llpp("run", *TINY, *FIGURES, "rounds=2", "crop.size=64", "name=s48", cwd=tmp_path)
    assert fixed.returncode == 0 and not (runs / "s48/seed0/failed.json").exists()
    report = llpp("report", "runs", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "crop.size=48 does not fit" in (runs / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", pytest.param("submitit_local", marks=LONG)])
def test_launchers_run_jobs_in_their_own_processes_and_failures_are_listed(tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher", reason="needs the sweep extra")
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else ["hydra.launcher.timeout_min=5"]
    jobs = [f"hydra/launcher={launcher}", *more, "rounds=1", "trainer.max_epochs=1,0"]
    name = "name=e${trainer.max_epochs}"
    done = llpp("run", "-m", *TINY, *FIGURES, *jobs, name, cwd=tmp_path, anew=True)
    assert done.returncode == 1, done.stderr
    assert "2 jobs: 1 done, 1 failed" in done.stderr
    assert "failed: runs/e0/seed0: trainer.max_epochs=0 is invalid; expected 1 or more" in done.stderr
    names = sorted(path.parent.parent.name for path in (tmp_path / "runs").rglob("state.json"))
    assert names == ["e1"]
    if launcher == "joblib":
        begun = sorted(line for line in done.stdout.splitlines() if line.startswith("job "))
        assert begun == ["job 1 of 2: runs/e1/seed0", "job 2 of 2: runs/e0/seed0"]


@pytest.mark.slow
def test_a_job_is_done_when_its_report_is_newer_than_its_last_commit(tmp_path):
    last = ("trainer.max_epochs=1", "report.write=true")
    cfg = config(tmp_path / "run", "rounds=1", *last)
    assert not sweep.is_done(cfg)
    run_job(cfg)
    assert sweep.is_done(cfg) and not sweep.is_done(config(tmp_path / "run", "rounds=2", *last))
    # How jobs are started may change between two starts of a sweep.
    assert sweep.is_done(config(tmp_path / "run", "rounds=1", *last, "launch.jobs_per_gpu=2", "launch.threads=1"))
    # As if the job had been killed between its last commit and its report.
    os.utime(tmp_path / "run/report.html", (0, 0))
    assert not sweep.is_done(cfg)


def test_an_outcome_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    journal = tmp_path / "journal"
    monkeypatch.setenv("LLPP_SWEEP", str(journal))
    (tmp_path / "run").write_text("not a folder")
    sweep.record_outcome(tmp_path / "run", "failed", "the disk is full")
    assert sweep.summarise_jobs()[:2] == ["1 job: 1 failed", f"failed: {tmp_path}/run: the disk is full"]


def test_a_run_that_another_process_uses_is_not_marked_as_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("LLPP_SWEEP", str(tmp_path / "journal"))
    cfg = config(tmp_path / "run", "hydra.mode=MULTIRUN")
    (tmp_path / "run").mkdir()
    with lock.lock_run_dir(tmp_path / "run"):
        job(cfg)
    assert "is in use by process" in sweep.summarise_jobs()[1] and not (tmp_path / "run/failed.json").exists()


def test_outside_a_sweep_there_is_no_summary():
    assert "LLPP_SWEEP" not in os.environ and sweep.summarise_jobs() == []
