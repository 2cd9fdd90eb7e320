"""Errors of memory that ran out, in messages that name the settings to change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from llpp.errors import TrainingError

# In errors of other kinds, which CUDA and its libraries raise when they get no memory for themselves.
CUDA_SIGNS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
RESUME_HINT = "and run the same command again to resume from the last checkpoint"


@contextmanager
def explain_resource_errors(data: Mapping[str, Any], crop_size: int, sharing: str | None = None) -> Iterator[None]:
    """Raise TrainingError if a GPU's memory runs out or the system ends a process that loads images.

    Args:
        data: the section of the config with the batch sizes and the number of workers.
        crop_size: pixels.
        sharing: the setting by which other jobs use the GPU at the same time, as it is typed; None if none do.
    """
    try:
        yield
    except RuntimeError as error:
        cause = _get_first_sentence(error)
        if isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in CUDA_SIGNS):
            raise TrainingError(
                f"the GPU's memory ran out ({cause}); {_advise_on_gpu_memory(data, crop_size, sharing)}"
            ) from error
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a process that loads images has ended ({cause}), as the system does when memory or /dev/shm runs out; "
            f"lower data.workers={data['workers']}, where 0 needs no /dev/shm, {RESUME_HINT}"
        ) from error


def _advise_on_gpu_memory(data: Mapping[str, Any], crop_size: int, sharing: str | None) -> str:
    """Name the settings to change, those first that leave the experiment as it is."""
    advice = (
        f"if that was in scoring, lower data.eval_batch_size={data['eval_batch_size']} {RESUME_HINT}; if it was in "
        f"training, lower data.batch_size={data['batch_size']}, crop.size={crop_size} or the backbone's width, which "
        "is another experiment: give it another name=…"
    )
    if sharing is None:
        return advice
    return f"other jobs of the sweep use this GPU, too: lower {sharing} {RESUME_HINT}. For a job alone, {advice}"


def _get_first_sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].split(".")[0]
