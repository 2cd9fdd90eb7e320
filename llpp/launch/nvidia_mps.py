"""NVIDIA's Multi-Process Service, with which the kernels of several processes run on a GPU at the same time.

A process uses it by itself if its control daemon runs when CUDA starts. Nothing here starts or stops it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

PIPE_FOLDER_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
DEFAULT_PIPE_FOLDER = "/tmp/nvidia-mps"
START_COMMAND = "nvidia-cuda-mps-control -d"


def find_mps(environment: Mapping[str, str]) -> Path | None:
    """Return the folder by which a process with these variables reaches a control daemon; None if there is no daemon.

    A daemon outside of this container has a process id that cannot be seen here, and is not found.
    """
    folder = Path(environment.get(PIPE_FOLDER_VARIABLE) or DEFAULT_PIPE_FOLDER)
    try:
        daemon = int((folder / "nvidia-cuda-mps-control.pid").read_text(encoding="ascii"))
        # Signal 0 only asks whether there is such a process: a daemon that was killed leaves its file.
        os.kill(daemon, 0)
    except PermissionError:
        # It is the system's or another user's.
        return folder
    except (OSError, ValueError, OverflowError):
        return None
    return folder


def describe_mps(environment: Mapping[str, str]) -> str:
    """Say whether jobs that share a GPU use the service, and how they would."""
    folder = find_mps(environment)
    if folder is not None:
        return f"NVIDIA MPS runs ({folder}): kernels of different jobs run at the same time"
    return (
        "NVIDIA MPS does not run, so that jobs take turns on a GPU; to let their kernels run at the same time, stop "
        f"this sweep, start `{START_COMMAND}` and run the same command again"
    )
