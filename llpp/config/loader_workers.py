"""How many processes load images, where data.workers leaves it open."""

import math
import os
import shutil
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
    side = math.ceil(cfg.crop.size * (cfg.crop.margin or 1.0))
    images = max(cfg.data.batch_size // devices, cfg.data.eval_batch_size)
    free_bytes = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None
    return count_workers(_count_cores(), devices * _count_jobs(), images * side * side * 3, free_bytes)


def count_workers(cores: int, processes: int, batch_bytes: int, free_bytes: int | None) -> int:
    """The number for each of `processes` that share cores and shared memory; a core is left for the process itself.

    Args:
        cores: that this machine gives us.
        processes: that train here.
        batch_bytes: of the pixels of the largest batch.
        free_bytes: of shared memory, through which batches come; None where there is no such limit.
    """
    workers = min(MOST_WORKERS, cores // processes - 1)
    if free_bytes is not None:
        room = MOST_OF_SHARED_MEMORY * free_bytes / processes
        workers = min(workers, int(room // (BATCHES_PER_WORKER * batch_bytes)))
    return max(0, workers)


def _count_jobs() -> int:
    """How many jobs of a sweep train here at the same time."""
    return max(1, int(os.environ.get(SIDE_BY_SIDE, "1")))


def _count_cores() -> int:
    # In a container or a job of a scheduler these are fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
