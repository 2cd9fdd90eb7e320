"""A sweep says which job begins, of how many, and how long all will take."""

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from llpp.config.compose import conf_dir
from llpp.launch.sweep_jobs import list_jobs
from llpp.launch.sweep_progress import Plan, count_side_by_side, estimate_seconds_left

SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def sweep(*words, params=None, sweeper=SWEEPER):
    node = {"sweeper": {"_target_": sweeper, "params": params}, "overrides": {"task": list(words)}}
    return OmegaConf.create({"hydra": node})


@pytest.mark.parametrize(
    ("words", "params", "jobs"),
    [
        (["seed=0,1,2", "objective=kl,mse", "rounds=3"], None, 6),
        (["seed=range(5)", "head.widths=[64,16]"], None, 5),
        (["name=${objective.pairs}-${hydra:job.num}", "seed=0,1"], None, 2),
        (["seed=7"], {"seed": "0,1", "head": "gap_fc,gap_multilevel"}, 2),
        (["head=glob(gap*)"], None, 2),
    ],
)
def test_the_jobs_of_a_sweep_are_counted(words, params, jobs):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert len(list_jobs(sweep(*words, params=params))) == jobs
        assert list_jobs(sweep(*words, sweeper="hydra_plugins.hydra_optuna_sweeper.OptunaSweeper")) is None


def test_launchers_say_how_many_jobs_they_run_at_a_time():
    joblib = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
    assert count_side_by_side({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}) == 1
    assert count_side_by_side({"_target_": joblib, "n_jobs": 3}) == 3
    assert count_side_by_side({"_target_": joblib, "n_jobs": -1}) >= 1
    assert count_side_by_side({"_target_": "hydra_plugins.hydra_submitit_launcher.SlurmLauncher"}) is None


def done(*seconds):
    return [{"outcome": "done", "seconds": value} for value in seconds]


@pytest.mark.parametrize(
    ("plan", "journal", "elapsed", "left"),
    [
        (Plan(4, 1, 0.0), done(60), 60, 180),
        (Plan(4, 2, 0.0), done(60), 60, 60),  # the second of the first pair ends now, and one pair is left
        (Plan(3, 2, 0.0), done(60), 60, 60),
        (Plan(4, 1, 0.0), [{"outcome": "done before"}, *done(50, 70)], 120, 60),
        (Plan(4, 1, 0.0), [{"outcome": "failed"}, *done(60)], 65, 115),
        (Plan(2, 2, 0.0), done(60), 100, 0),  # the other takes longer than this one did
        (Plan(4, 1, 0.0), [{"outcome": "done before"}], 1, None),
        (Plan(None, 1, 0.0), done(60), 60, None),
        (Plan(4, None, 0.0), done(60), 60, None),
    ],
)
def test_the_time_left_is_that_of_jobs_like_those_that_are_done(plan, journal, elapsed, left):
    assert estimate_seconds_left(plan, journal, elapsed) == left
