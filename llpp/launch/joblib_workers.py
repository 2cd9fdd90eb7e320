"""The processes in which joblib runs the jobs of a sweep: they end with the process that started them."""

import os
from typing import Any

from joblib.parallel import LokyBackend, register_parallel_backend

from llpp.launch import signals

# Seconds to end in order after the parent's death; with the loaders, which need up to 5 to notice theirs, below 10.
GRACE_SECONDS = 3.0


class SweepBackend(LokyBackend):  # type: ignore[misc]  # joblib has no types
    """joblib's own backend, whose workers notice the death of their parent, also those that have no job."""

    def configure(self, *args: Any, **kwargs: Any) -> Any:
        """Start the workers; they would otherwise finish the jobs in their queue, and then wait for ever."""
        watch = {"initializer": signals.stop_with_parent, "initargs": (os.getpid(), GRACE_SECONDS)}
        return super().configure(*args, **kwargs, **watch)


def watch_parent() -> None:
    """Let the workers of this process's next sweep watch it."""
    register_parallel_backend("loky", SweepBackend)
