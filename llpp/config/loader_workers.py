"""How many processes load images, where data.workers leaves it open."""

import math
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

from llpp.errors import expect
from llpp.loggers.own_terminal import SIDE_BY_SIDE
from llpp.storage import SHARED_MEMORY

MOST_WORKERS = 8  # each delivers a few hundred photographs or 1,600 cached crops a second
BATCHES_PER_WORKER = 2  # that torch lets each load ahead
MOST_OF_SHARED_MEMORY = 0.5  # share of what is free there


def choose_workers(cfg: Any) -> int:
    """What data.workers=null means on this machine: none on CPUs, whose cores have the network to compute.

    A GPU waits while this process loads images. With crops that it holds already, nothing is left to load.
    """
    if cfg.trainer.accelerator not in ("gpu", "cuda") or cfg.crop.resident:
        return 0
    devices = cfg.trainer.devices
    expect(type(devices) is int and devices >= 1, "trainer.devices", devices, "a number of devices, 1 or more")
    jobs = count_jobs(int(os.environ.get(SIDE_BY_SIDE, "1")), _count_gpus(), cfg.launch.jobs_per_gpu, devices)
    side = math.ceil(cfg.crop.size * (cfg.crop.margin or 1.0))
    images = max(cfg.data.batch_size // devices, cfg.data.eval_batch_size)
    return count_workers(_count_cores(), devices * jobs, images * side * side * 3, _measure_shared_memory())


def count_workers(cores: int, processes: int, batch_bytes: int, free_bytes: int) -> int:
    """The number for each of `processes` that share cores and shared memory; a core is left for the process itself.

    Args:
        cores: that this process may use.
        processes: that train here.
        batch_bytes: of the pixels of the largest batch.
        free_bytes: of shared memory, through which batches come.
    """
    room = MOST_OF_SHARED_MEMORY * free_bytes / processes
    fitting = int(room // (BATCHES_PER_WORKER * batch_bytes))
    return max(0, min(MOST_WORKERS, cores // processes - 1, fitting))


def count_jobs(side_by_side: int, gpus: int, jobs_per_gpu: int | None, devices: int) -> int:
    """How many jobs of a sweep train at the same time; of several on one machine, some may wait for a GPU.

    Args:
        side_by_side: processes in which the sweep runs jobs here; 0 where a cluster gives each a machine.
        gpus: of this machine.
        jobs_per_gpu: that may share one; None: one each, but a single GPU is for all.
        devices: GPUs of each job.
    """
    jobs = max(1, side_by_side)
    if jobs_per_gpu is None and gpus < 2:
        return jobs
    places = gpus * (jobs_per_gpu or 1) // devices
    return min(jobs, max(1, places))


def _count_gpus() -> int:
    # torch, which knows, takes longer to import than the report of a wrong setting should.
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return len(named) or len(list(Path("/dev").glob("nvidia[0-9]*")))


def _count_cores() -> int:
    # Schedulers and containers may bind a process to some of the machine's.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _measure_shared_memory() -> int:
    """Free bytes; 0 where processes cannot share memory in this way."""
    if not SHARED_MEMORY.is_dir():
        return 0
    try:
        multiprocessing.Lock()
    except OSError:
        return 0
    return shutil.disk_usage(SHARED_MEMORY).free
