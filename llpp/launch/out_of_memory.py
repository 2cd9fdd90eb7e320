"""What the machine does to a run, in words that name the setting to change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from llpp.errors import TrainingError

RESUME_HINT = "then start the same command again: it goes on from the last checkpoint"


@contextmanager
def explain_resource_errors(data: Mapping[str, Any], crop_size: int) -> Iterator[None]:
    """Raise TrainingError for memory that ran out and for workers that the system ended."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory ran out ({str(error).split('.')[0]}); lower data.batch_size={data['batch_size']} in "
            f"training or data.eval_batch_size={data['eval_batch_size']} in scoring, crop.size={crop_size}, or the "
            f"backbone's width, {RESUME_HINT}"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a process that loads images has ended ({str(error).split('.')[0]}); the system does so when memory "
            f"or /dev/shm runs out: lower data.workers={data['workers']} or data.batch_size={data['batch_size']}, "
            f"{RESUME_HINT}"
        ) from error
