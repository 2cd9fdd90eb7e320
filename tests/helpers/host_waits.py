"""Operations for which the host would wait for a GPU."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


WAITING = {  # on a GPU the host would wait here: values read, sizes that depend on values, values sent from the host
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._linalg_check_errors, aten.equal,
    aten.is_nonzero, aten.lift_fresh, aten._unique2, aten.bincount, aten.repeat_interleave,
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Counts the operations for which the host would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        by_mask = function.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if function.overloadpacket in WAITING or by_mask:
            self.found[str(function)] += 1
        return function(*args, **(kwargs or {}))
