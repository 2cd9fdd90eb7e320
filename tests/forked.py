"""A server that has imported everything and forks fresh processes: each saves the seconds of its imports."""

import multiprocessing
import multiprocessing.forkserver
import os
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

PRELOADED = ["command", "rank_work", "kills", "test_endings"]


def context() -> ForkServerContext:
    """What starts such processes."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))  # where the server finds what to import
        multiprocessing.forkserver.ensure_running()
    return found
