"""Copies of results from the device to the host that do not block."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class AsyncHostCopy:
    """Copies of tensors that the device makes in its own time; the host waits only when it needs them.

    Read them one batch later: the copies are complete by then, and the device never had to wait for the host.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        # For a copy that does not block, torch chooses page-locked memory.
        self.copies = {name: value.detach().to("cpu", non_blocking=True) for name, value in tensors.items()}
        self.done: torch.cuda.Event | None = None
        on_gpu = any(value.is_cuda for value in tensors.values())
        if on_gpu:
            self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.done.record()

    def wait_for_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Wait until all copies are complete, and return their values."""
        if self.done is not None:
            self.done.synchronize()
        return {name: value.numpy() for name, value in self.copies.items()}
