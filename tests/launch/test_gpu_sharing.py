"""A sweep whose jobs share GPUs: what it says and refuses before the first job. No test here needs a GPU."""

import os
import subprocess
import sys

import pytest
import torch
from helpers.experiments import FIGURES, TINY, config
from helpers.sweeps import dry_sweep

from llpp.errors import ConfigError, TrainingError
from llpp.launch import gpu_memory, nvidia_mps, sweep_progress
from llpp.launch.gpu_memory import GpuMemory
from llpp.launch.gpu_sharing import Demand, check_job, describe_sharing, name_sharing_setting
from llpp.launch.out_of_memory import explain_resource_errors

GIB = 2**30
CARD = GpuMemory(free=72 * GIB, total=80 * GIB)
JOBLIB = "hydra/launcher=joblib"


def test_each_jobs_part_of_the_memory_is_said_before_the_sweep():
    (line,) = describe_sharing(Demand(4, 3 * GIB), 4, [CARD])
    assert line == (
        "4 jobs at a time on 1 GPU, at most 4 on each: 18.0 GiB of GPU memory for each (72.0 GiB of 80.0 GiB are "
        "free), of which resident crops take 3.0 GiB"
    )
    # 5 jobs on 2 GPUs are 3 and 2; the fuller card counts.
    (line,) = describe_sharing(Demand(4, 0), 5, [CARD, GpuMemory(60 * GIB, 80 * GIB)])
    assert line == (
        "5 jobs at a time on 2 GPUs, at most 3 on each: 20.0 GiB of GPU memory for each (60.0 GiB of 80.0 GiB are "
        "free)"
    )


def test_more_jobs_at_once_than_places_are_refused_with_numbers_that_fit():
    with pytest.raises(ConfigError) as refused:
        describe_sharing(Demand(3, 0), 7, [CARD, CARD])
    assert str(refused.value) == (
        "hydra.launcher.n_jobs=7 is too many: 2 GPUs with launch.jobs_per_gpu=3 have places for 6; set "
        "hydra.launcher.n_jobs=6 or less, or launch.jobs_per_gpu=4"
    )


def test_resident_crops_that_do_not_fit_as_often_as_there_are_jobs_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"8 jobs on one GPU would keep 80.0 GiB of crops there, 10.0 GiB each, and "
        r"72.0 GiB are free; set launch.jobs_per_gpu=7 or less, or crop.resident=null",
    ):
        describe_sharing(Demand(8, 10 * GIB), 8, [CARD])  # fmt: skip
    with pytest.raises(ConfigError, match=r"are free; set crop.resident=null, or lower crop.size or crop.margin"):
        describe_sharing(Demand(2, 73 * GIB), 2, [CARD])
    # Two of the eight at a time fit.
    assert describe_sharing(Demand(8, 10 * GIB), 2, [CARD])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trainer=gpu"], "is for the jobs of a sweep that run side by side; start one with -m hydra/launcher="),
        ([JOBLIB], "places jobs on NVIDIA GPUs, but trainer.accelerator='cpu'; use trainer=gpu, or leave"),
        ([JOBLIB, "trainer=ddp", "trainer.devices=1,2", "name=a${trainer.devices}"],
         "does not go with trainer.devices=2: a job on several GPUs has them to itself"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_a_sweep_that_cannot_share_gpus_ends_before_its_first_job(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, run_dirs = dry_sweep(*TINY, *FIGURES, "seed=0,1", "launch.jobs_per_gpu=4", *words)
    assert said.startswith("llpp: launch.jobs_per_gpu=4 ") and sentence in said and said.count("\n") == 1
    assert run_dirs == [] and not list(tmp_path.iterdir())


def test_a_single_run_refuses_a_number_above_one(tmp_path):
    check_job(config(tmp_path, "trainer=gpu", "launch.jobs_per_gpu=1", "hydra.mode=RUN"))
    with pytest.raises(ConfigError, match=r"^launch.jobs_per_gpu=2 is for the jobs of a sweep"):
        check_job(config(tmp_path, "trainer=gpu", "launch.jobs_per_gpu=2", "hydra.mode=RUN"))
    with pytest.raises(ConfigError, match=r"^launch.jobs_per_gpu=0 is invalid; expected null, or a whole number"):
        check_job(config(tmp_path, "trainer=gpu", "launch.jobs_per_gpu=0", "hydra.mode=RUN"))


# A card that is not there: joblib, its workers and the places are real, and a job only notes when it had which GPU.
SWEEP = """
import sys
from pathlib import Path
from llpp.config import compose
from llpp.launch import gpu_memory

gpu_memory.read_gpu_memory = lambda: [gpu_memory.GpuMemory(int(words[0]), 80 * 2**30)]
words = sys.argv[1:]

def start(cfg):
    import time
    import torch
    from llpp.launch import job, sweep_progress

    def note(cfg, gpus=None):
        begin = time.time()
        time.sleep(0.3)
        side_by_side = sweep_progress.read_plan().side_by_side
        Path(f"job{cfg.seed}").write_text(f"{gpus} {side_by_side} {begin} {time.time()}")
        return "done"

    torch.cuda.device_count = lambda: 1
    job.run_job = note
    job.run_unless_done(cfg)

compose.run(start, words[1:])
"""


def start_sweep(cwd, free, *words):
    command = [sys.executable, "-c", SWEEP, str(free), "-m", *TINY, *FIGURES, "trainer=gpu", JOBLIB, *words]
    environment = {**os.environ, "TMPDIR": str(cwd)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=100, check=False)


@pytest.mark.slow
def test_without_a_number_of_its_own_joblib_runs_as_many_jobs_as_have_a_place(tmp_path):
    done = start_sweep(tmp_path, 72 * GIB, "seed=0,1,2,3", "launch.jobs_per_gpu=2")
    assert done.returncode == 0, done.stderr
    assert "2 jobs at a time on 1 GPU, at most 2 on each: 36.0 GiB of GPU memory for each" in done.stdout
    assert "NVIDIA MPS" in done.stdout and "Joblib.Parallel(n_jobs=2," in done.stdout
    jobs = [(tmp_path / f"job{seed}").read_text().split() for seed in range(4)]
    assert {(gpus, side_by_side) for gpus, side_by_side, _, _ in jobs} == {("[0]", "2")}
    times = [(float(begin), float(end)) for _, _, begin, end in jobs]
    for moment, _ in times:
        assert sum(begin <= moment < end for begin, end in times) <= 2


@pytest.mark.slow
def test_the_crops_of_the_dataset_are_counted_for_every_job_on_a_card(tmp_path):
    # 48 figures of 48 × 48 pixels (32 and a margin of 1.5), three bytes each: 331,776 bytes
    words = ("seed=0,1", "launch.jobs_per_gpu=4", "crop.cache=true", "crop.resident=device", "crop.margin=1.5")
    full = start_sweep(tmp_path, 2 * 331_776 - 1, *words)
    assert full.returncode == 2 and not list(tmp_path.glob("job*"))
    assert "2 jobs on one GPU would keep 648.0 KiB of crops there, 324.0 KiB each, and 648.0 KiB are free; set " in (
        full.stderr
    )
    assert "launch.jobs_per_gpu=1 or less, or crop.resident=null" in full.stderr


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_memory_is_read_by_another_process():
    assert gpu_memory.read_gpu_memory() == []


def test_the_service_is_found_by_its_daemon(tmp_path):
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}
    assert nvidia_mps.find_mps(environment) is None
    assert "start `nvidia-cuda-mps-control -d` and run the same command again" in nvidia_mps.describe_mps(environment)
    pid = tmp_path / "nvidia-cuda-mps-control.pid"
    pid.write_text(f"{os.getpid()}\n")
    assert nvidia_mps.find_mps(environment) == tmp_path
    assert nvidia_mps.describe_mps(environment).startswith(f"NVIDIA MPS runs ({tmp_path})")
    # A daemon that was killed leaves its file; and not every file is its.
    with subprocess.Popen(["true"]) as ended:
        pass
    pid.write_text(f"{ended.pid}\n")
    assert nvidia_mps.find_mps(environment) is None
    pid.write_text("none")
    assert nvidia_mps.find_mps(environment) is None


@pytest.mark.parametrize(
    ("words", "side_by_side", "gpus", "named"),
    [
        (["launch.jobs_per_gpu=4"], 8, 2, "launch.jobs_per_gpu=4"),
        (["launch.jobs_per_gpu=1"], 8, 1, None),
        ([], 8, 1, "hydra.launcher.n_jobs=8"),
        ([], 8, 2, None),
        ([], 1, 1, None),
        (["trainer=cpu"], 8, 1, None),
    ],
)
def test_a_job_knows_by_which_setting_it_shares_its_gpu(words, side_by_side, gpus, named, tmp_path, monkeypatch):
    plan = f'{{"jobs": 30, "side_by_side": {side_by_side}, "since": 0.0}}'
    monkeypatch.setenv(sweep_progress.PLAN_VARIABLE, plan)
    assert name_sharing_setting(config(tmp_path, "trainer=gpu", *words), gpus) == named


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_where_jobs_share_a_gpu_the_advice_after_out_of_memory_is_to_lower_their_number(error):
    data = {"batch_size": 64, "eval_batch_size": 256, "workers": 0}
    with pytest.raises(TrainingError) as explained, explain_resource_errors(data, 128, "launch.jobs_per_gpu=4"):
        raise error
    said = str(explained.value)
    assert said.startswith("the GPU's memory ran out (CUDA ") and "\n" not in said
    assert (
        "other jobs of the sweep use this GPU, too: lower launch.jobs_per_gpu=4 and run the same command again"
        in said
    )
    assert said.index("launch.jobs_per_gpu") < said.index("data.eval_batch_size=256")
    with pytest.raises(TrainingError) as explained, explain_resource_errors(data, 128):
        raise error
    assert "other jobs" not in str(explained.value)


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match=r"^shapes$"), explain_resource_errors({}, 128, "launch.jobs_per_gpu=4"):
        raise RuntimeError("shapes")
