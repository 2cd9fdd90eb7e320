"""Jobs of a sweep that share GPUs (`launch.jobs_per_gpu`): what is refused, and said, before the first one begins."""

import logging
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from llpp.errors import ConfigError, LlppError
from llpp.launch import gpu_memory, launcher, nvidia_mps, sweep_progress
from llpp.launch.gpu_memory import GpuMemory
from llpp.launch.sweep_collisions import compose_jobs, restore_hydra_config
from llpp.launch.sweep_jobs import COMPOSE_ERRORS, Job, list_jobs
from llpp.setting_rules import check_setting

log = logging.getLogger(__name__)
SETTING = "launch.jobs_per_gpu"
NVIDIA = ("gpu", "cuda")  # values of trainer.accelerator


@dataclass(frozen=True)
class Demand:
    """What the jobs of a sweep ask of GPUs."""

    jobs_per_gpu: int
    resident_bytes: int  # of the largest job's crops in the GPU's memory


def read_jobs_per_gpu(cfg: DictConfig) -> int | None:
    """Return how many jobs may share a GPU; None if that is not set. ConfigError if it is no such number."""
    section = cfg.get("launch")
    if not isinstance(section, DictConfig):
        # The run itself will explain it.
        return None
    number: int | None = section.get("jobs_per_gpu")
    check_setting(SETTING, number)
    return number


def check_job(cfg: DictConfig) -> None:
    """Raise ConfigError if a run, or a job of a sweep, that Hydra has begun cannot share its GPU as it asks."""
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    check_sharing(cfg, str(hydra.launcher.get("_target_")) if in_sweep else "")


def check_sharing(cfg: DictConfig, launcher_class: str) -> None:
    """Raise ConfigError if a job cannot share its GPU as it asks.

    Args:
        cfg: the job's config.
        launcher_class: of Hydra, which starts the jobs of the sweep; empty for a single run.
    """
    number = read_jobs_per_gpu(cfg)
    if number is None or number == 1:
        return
    accelerator = cfg.trainer.accelerator
    if sys.platform == "darwin":
        raise ConfigError(
            f"{SETTING}={number} places jobs on NVIDIA GPUs, and Apple's machines have none; leave {SETTING} out"
        )
    if accelerator not in NVIDIA:
        raise ConfigError(
            f"{SETTING}={number} places jobs on NVIDIA GPUs, but trainer.accelerator={accelerator!r}; use "
            f"trainer=gpu, or leave {SETTING} out"
        )
    if "joblib" not in launcher_class:
        raise ConfigError(
            f"{SETTING}={number} is for the jobs of a sweep that run side by side; start one with -m "
            f"hydra/launcher=joblib, or leave {SETTING} out"
        )
    if launcher.count_processes(cfg) > 1:
        raise ConfigError(
            f"{SETTING}={number} does not go with trainer.devices={cfg.trainer.devices}: a job on several GPUs has "
            f"them to itself, because its processes wait for each other at every step; set trainer.devices=1, or "
            f"leave {SETTING} out"
        )


def prepare_sweep(config: DictConfig) -> None:
    """Check that the jobs of a sweep fit on the GPUs as they ask, and log how they share them.

    Where `n_jobs` is left open, joblib then runs as many jobs as have a place.

    Args:
        config: the sweep's, with Hydra's part; its `hydra.launcher.n_jobs` may be changed.

    Raises:
        ConfigError: they do not fit.
    """
    jobs = list_jobs(config)
    if not _may_share(config, jobs or []):
        return
    demand = _collect_demand(config, jobs)
    if demand is None:
        return
    gpus = gpu_memory.read_gpu_memory()
    if not gpus:
        # The jobs say why there is none.
        return
    places = demand.jobs_per_gpu * len(gpus)
    if config.hydra.launcher.n_jobs < 0:
        with flag_override(config, "readonly", False):
            config.hydra.launcher.n_jobs = places
    at_once = sweep_progress.count_side_by_side(config.hydra.launcher) or 1
    if jobs is not None:
        at_once = min(at_once, len(jobs))
    for line in describe_sharing(demand, at_once, gpus):
        log.info("%s", line)
    if demand.jobs_per_gpu > 1:
        log.info("%s", nvidia_mps.describe_mps(os.environ))


def describe_sharing(demand: Demand, at_once: int, gpus: Sequence[GpuMemory]) -> list[str]:
    """Return the lines about places and memory with which a sweep begins.

    Args:
        demand: of its jobs.
        at_once: jobs that run at the same time.
        gpus: the visible ones, before the sweep.

    Raises:
        ConfigError: more jobs at once than places, or crops that do not fit.
    """
    number = demand.jobs_per_gpu
    count = f"{len(gpus)} GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
    places = number * len(gpus)
    if at_once > places:
        needed = math.ceil(at_once / len(gpus))
        raise ConfigError(
            f"hydra.launcher.n_jobs={at_once} is too many: {count} with {SETTING}={number} have places for {places}; "
            f"set hydra.launcher.n_jobs={places} or less, or {SETTING}={needed}"
        )
    # A job takes the emptiest GPU, so that none has more than its part of all jobs.
    most = math.ceil(at_once / len(gpus))
    smallest = min(gpus, key=lambda gpu: gpu.free)
    needed_bytes = most * demand.resident_bytes
    if needed_bytes > smallest.free:
        fitting = smallest.free // demand.resident_bytes
        remedy = f"set {SETTING}={fitting} or less, or crop.resident=null"
        if fitting == 0:
            remedy = "set crop.resident=null, or lower crop.size or crop.margin"
        raise ConfigError(
            f"crop.resident=device: {most} jobs on one GPU would keep {_format(needed_bytes)} of crops there, "
            f"{_format(demand.resident_bytes)} each, and {_format(smallest.free)} are free; {remedy}"
        )
    share = f"{_format(smallest.free // most)} of GPU memory for each ({_format(smallest.free)} of "
    share += f"{_format(smallest.total)} are free)"
    if demand.resident_bytes:
        share += f", of which resident crops take {_format(demand.resident_bytes)}"
    return [f"{at_once} jobs at a time on {count}, at most {most} on each: {share}"]


def name_sharing_setting(cfg: DictConfig, visible_gpus: int) -> str | None:
    """Return the setting by which a job shares its GPU with others, with its value; None if it has it to itself."""
    number = read_jobs_per_gpu(cfg)
    if number is not None:
        return f"{SETTING}={number}" if number > 1 else None
    plan = sweep_progress.read_plan()
    if plan is None or visible_gpus != 1 or cfg.trainer.accelerator not in NVIDIA:
        return None
    # All jobs of a sweep share the only GPU of a machine.
    at_once = plan.side_by_side or 1
    return f"hydra.launcher.n_jobs={at_once}" if at_once > 1 else None


def _may_share(config: DictConfig, jobs: Sequence[Job]) -> bool:
    """Whether any job may set the number; finding out composes all of them, which takes time."""
    if read_jobs_per_gpu(config) is not None:
        return True
    for job in jobs:
        for word in job:
            if SETTING in word or word.startswith("experiment="):
                return True
    return False


def _collect_demand(config: DictConfig, jobs: Sequence[Job] | None) -> Demand | None:
    """Check each job, and return what they ask together; None if no job on a single GPU sets a number."""
    launcher_class = str(config.hydra.launcher.get("_target_"))
    numbers = []
    sizes: dict[str, int] = {}
    with restore_hydra_config():
        try:
            for cfg in [config] if jobs is None else compose_jobs(config, jobs):
                check_sharing(cfg, launcher_class)
                number = read_jobs_per_gpu(cfg)
                on_one_gpu = cfg.trainer.accelerator in NVIDIA and cfg.trainer.devices == 1
                if number is None or not on_one_gpu or "joblib" not in launcher_class:
                    continue
                numbers.append(number)
                parts: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, ["crop", "dataset"]), resolve=True)
                if str(parts) not in sizes:
                    sizes[str(parts)] = _measure_resident_crops(cfg)
        except COMPOSE_ERRORS:
            # Hydra composes every job before the first one starts, and explains what is wrong with it.
            return None
    if not numbers:
        return None
    return Demand(max(numbers), max(sizes.values()))


def _measure_resident_crops(cfg: DictConfig) -> int:
    """Return the bytes of a job's crops in the GPU's memory; 0 if it keeps none there, or cannot know them."""
    if not cfg.crop.resident or not cfg.crop.cache or cfg.crop.margin is None:
        return 0
    # NumPy and OpenCV, which take longer to import than the report of a wrong setting should.
    from llpp.config.instantiate import make_dataset
    from llpp.data.person_crop import PersonCrop

    try:
        side = PersonCrop(cfg.crop.size, cfg.crop.padding, cfg.crop.margin).side
        count = len(make_dataset(cfg).records.ids)
    except (LlppError, OSError):
        # The job will explain it.
        return 0
    return count * side * side * 3


def _format(size: int) -> str:
    from llpp.data.crop_cache.blocks import format_bytes

    return format_bytes(size)
