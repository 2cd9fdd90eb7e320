"""Results on their way from the device to the host."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class AsyncHostCopy:
    """Copies of tensors that the device makes when it comes to them; the host waits only once it needs them.

    What is needed one batch later is there by then, and the device has had the next batch to work on all the time.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        # copies to page-locked memory, which is what torch chooses for a copy that does not block
        self.copies = {name: value.detach().to("cpu", non_blocking=True) for name, value in tensors.items()}
        self.done: torch.cuda.Event | None = None
        if any(value.is_cuda for value in tensors.values()):
            self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.done.record()

    def wait_for_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The values, as soon as they are all here."""
        if self.done is not None:
            self.done.synchronize()
        return {name: value.numpy() for name, value in self.copies.items()}
