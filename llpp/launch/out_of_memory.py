"""Errors of memory that ran out, in messages that name the settings to change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from llpp.errors import TrainingError

RESUME_HINT = "and run the same command again to resume from the last checkpoint"


@contextmanager
def explain_resource_errors(data: Mapping[str, Any], crop_size: int) -> Iterator[None]:
    """Raise TrainingError if a GPU's memory runs out or the system ends a process that loads images.

    Args:
        data: the section of the config with the batch sizes and the number of workers.
        crop_size: pixels.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        cause = _get_first_sentence(error)
        raise TrainingError(
            f"the GPU's memory ran out ({cause}); if that was in scoring, lower data.eval_batch_size="
            f"{data['eval_batch_size']} {RESUME_HINT}; if it was in training, lower data.batch_size="
            f"{data['batch_size']}, crop.size={crop_size} or the backbone's width, which is another experiment: give "
            "it another name=…"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        cause = _get_first_sentence(error)
        raise TrainingError(
            f"a process that loads images has ended ({cause}), as the system does when memory or /dev/shm runs out; "
            f"lower data.workers={data['workers']}, where 0 needs no /dev/shm, {RESUME_HINT}"
        ) from error


def _get_first_sentence(error: Exception) -> str:
    return str(error).split(".")[0]
