"""What is known of a dataset's records, as tensors on the device where it is looked up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class RecordTensors:
    """Arrays (N, …) by name; another device than the CPU gets them when it first asks, and keeps them."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        self._tensors: dict[torch.device, dict[str, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the tensors: another process makes its own."""
        return {"arrays": self.arrays, "_tensors": {}}

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """(B, …) of some rows (B,), on their device."""
        if rows.device not in self._tensors:
            self._tensors[rows.device] = self._send(rows.device)
        return {name: values[rows] for name, values in self._tensors[rows.device].items()}

    def _send(self, device: torch.device) -> dict[str, Tensor]:
        tensors = {}
        for name, array in self.arrays.items():
            # torch warns about arrays that are not writable, even where they are only read.
            shared = array if array.flags.writeable else np.array(array)
            tensors[name] = torch.from_numpy(shared).to(device)
        return tensors
