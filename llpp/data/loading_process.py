"""A process that loads images and cannot hand over a batch."""

import multiprocessing.queues
import os
from typing import NoReturn


def end_where_batches_do_not_fit(number: int) -> None:
    """Let this process end when shared memory has no room for a batch; `number` is its own among the processes.

    Python would print a traceback and drop the batch, and the run would wait for it for ever.
    """
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: Exception, batch: object) -> NoReturn:
    # The run notices the end of a process. This is a thread, in which an exception would end nothing.
    os._exit(1)
