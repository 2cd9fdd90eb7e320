"""A server that has imported everything and forks fresh processes: each saves the seconds of its imports."""

import multiprocessing
import multiprocessing.forkserver
import os
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PRELOADED = ["helpers.command", "helpers.rank_work", "helpers.kills", "test_endings"]


def context() -> ForkServerContext:
    """What starts such processes."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    folders = [str(TESTS), str(TESTS / "launch"), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))  # where the server finds what to import
        multiprocessing.forkserver.ensure_running()
    return found
