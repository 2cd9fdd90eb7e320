"""The memory of the visible GPUs: what is free, and what a job has left behind."""

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

MAX_SECONDS = 120.0  # the process imports torch and starts the driver


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of one GPU."""

    free: int
    total: int


def read_gpu_memory() -> list[GpuMemory] | None:
    """Return the memory of each visible GPU; None if it cannot be read, for a reason that the jobs will explain.

    Another process reads it: one that asks CUDA keeps some of every GPU's memory until it ends, and the process of a
    sweep waits for the last job.
    """
    import_paths = [path for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(import_paths)}
    command = [sys.executable, "-m", "llpp.launch.gpu_memory"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=MAX_SECONDS
        )
        return [GpuMemory(**gpu) for gpu in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def free_cached_memory() -> None:
    """Give back what torch keeps of the memory of a job that has ended, because the next one may get another GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    # Networks and trainers refer to each other in circles.
    gc.collect()
    torch.cuda.empty_cache()


def main() -> None:
    """Print the memory of each visible GPU as JSON."""
    import torch

    gpus = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        gpus.append(asdict(GpuMemory(free, total)))
    print(json.dumps(gpus))


if __name__ == "__main__":
    main()
