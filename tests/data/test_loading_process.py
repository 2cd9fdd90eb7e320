"""A batch that a loading process cannot hand over ends the process, and so the wait for it."""

import pytest
from torch.utils.data import DataLoader

from llpp.data.loading_process import end_where_batches_do_not_fit


class Unsendable:
    """Records that, like those for which shared memory has no room, fail on their way to the main process."""

    def __len__(self):
        return 1

    def __getitem__(self, row):
        return lambda: row


def keep(batch):
    return batch


def test_the_run_does_not_wait_for_a_batch_that_is_lost():
    loader = DataLoader(
        Unsendable(), num_workers=1, timeout=60, worker_init_fn=end_where_batches_do_not_fit, collate_fn=keep
    )
    with pytest.raises(RuntimeError, match=r"DataLoader worker .* exited unexpectedly"):
        next(iter(loader))
