"""Variables of Slurm, LSF and MPI around a run do not make it a rank of theirs."""

import pytest
from helpers.experiments import config, rows, tiny
from lightning_fabric.utilities.rank_zero import rank_zero_only

from llpp.errors import ConfigError
from llpp.launch import launcher
from llpp.rounds import loop

SCHEDULERS = {
    "slurm": {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "7",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "node[1-4]",
    },
    "lsf": {
        "LSB_JOBID": "7",
        "LSB_DJOB_RANKFILE": "/nowhere",
        "JSM_NAMESPACE_LOCAL_RANK": "1",
        "JSM_NAMESPACE_RANK": "1",
        "JSM_NAMESPACE_SIZE": "4",
    },
    "another launcher": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_run_on_one_device_is_alone_whatever_started_it(name, tmp_path, monkeypatch):
    for variable, value in SCHEDULERS[name].items():
        monkeypatch.setenv(variable, value)
    # What Lightning takes from these variables when it is imported.
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    run = tiny(tmp_path, "rounds=1", "trainer.max_epochs=1", "logger=csv")
    loop.run_rounds(run)
    assert [row["round"] for row in rows(tmp_path)] == ["0"]
    assert list(tmp_path.glob("logs/*/metrics.csv")), "rank 0 alone writes it"


def test_several_tasks_of_srun_are_refused_with_the_command_that_works(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert launcher.count_processes(config(tmp_path)) == 1, "a task on one device is a run of its own"
    cfg = config(tmp_path, "trainer=ddp_cpu")
    with pytest.raises(ConfigError, match=r"srun has started this command 2 times, .*--ntasks=1 llpp run … trainer"):
        launcher.count_processes(cfg)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert launcher.count_processes(cfg) == 2
