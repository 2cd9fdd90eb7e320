"""How far a sweep is: the number of each job, and how long the others will take.

The process that starts a sweep leaves its plan in an environment variable, which the processes of its jobs inherit;
how long jobs took is in the sweep's journal.
"""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from llpp.launch.sweep_jobs import list_jobs
from llpp.loggers.own_terminal import SIDE_BY_SIDE
from llpp.rounds.time_left import format_duration

PLAN_VARIABLE = "LLPP_SWEEP_PLAN"
BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@dataclass(frozen=True)
class Plan:
    """What is known about a sweep when it starts."""

    jobs: int | None  # None: the sweeper chooses as it goes
    side_by_side: int | None  # jobs that run at the same time; None: a cluster decides
    since: float  # when it started, seconds of the system's clock


def start_plan(config: DictConfig) -> None:
    """Leave the plan of a sweep, from its config with Hydra's part, for the processes of its jobs."""
    jobs = list_jobs(config)
    count = None if jobs is None else len(jobs)
    at_once = count_side_by_side(config.hydra.launcher)
    if at_once is not None and count is not None:
        at_once = max(1, min(at_once, count))
    plan = Plan(count, at_once, time.time())
    os.environ[PLAN_VARIABLE] = json.dumps(asdict(plan))
    os.environ.pop(SIDE_BY_SIDE, None)
    if plan.side_by_side != 1:
        os.environ[SIDE_BY_SIDE] = str(plan.side_by_side or 0)


def read_plan() -> Plan | None:
    """Return the plan of the sweep to which this process belongs; None outside a sweep."""
    text = os.environ.get(PLAN_VARIABLE)
    return None if text is None else Plan(**json.loads(text))


def end_plan() -> None:
    """Forget the plan; what this process runs next is no job of the sweep."""
    os.environ.pop(PLAN_VARIABLE, None)
    os.environ.pop(SIDE_BY_SIDE, None)


def count_side_by_side(launcher: Mapping[str, Any]) -> int | None:
    """Count the jobs that a launcher runs at the same time on this machine; None if it hands them to a cluster."""
    if launcher["_target_"] == BASIC_LAUNCHER:
        return 1
    if "n_jobs" not in launcher:
        return None
    wanted = launcher["n_jobs"] or 1
    # joblib's way of saying all cores, and all but one
    return int(wanted) if wanted > 0 else max(1, (os.cpu_count() or 1) + 1 + int(wanted))


def describe_job(run_dir: str, journal: Sequence[Mapping[str, Any]]) -> str | None:
    """The line with which a job of a sweep begins; None outside a sweep.

    Args:
        run_dir: the job's run directory.
        journal: the jobs that have ended.
    """
    plan = read_plan()
    job = HydraConfig.get().job
    if plan is None or OmegaConf.is_missing(job, "num"):
        return None
    of = "" if plan.jobs is None else f" of {plan.jobs}"
    seconds = estimate_seconds_left(plan, journal, time.time())
    left = "" if seconds is None else f" · about {format_duration(seconds)} left for all jobs"
    return f"job {job.num + 1}{of}: {run_dir}{left}"


def estimate_seconds_left(plan: Plan, journal: Sequence[Mapping[str, Any]], now: float) -> float | None:
    """Seconds until the last job ends, if all take as long as those that are done; None if that is not known."""
    taken = [job["seconds"] for job in journal if job["outcome"] == "done" and job.get("seconds") is not None]
    if plan.jobs is None or plan.side_by_side is None or not taken:
        return None
    # Jobs that had nothing to do, or failed, take no time.
    to_run = plan.jobs - len(journal) + len(taken)
    mean: float = sum(taken) / len(taken)
    expected = math.ceil(to_run / plan.side_by_side) * mean
    return max(0.0, expected - (now - plan.since))


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The jobs of a sweep that have ended, as they were recorded; none if the journal cannot be read."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        # another job may be in the middle of writing its line
        return []
