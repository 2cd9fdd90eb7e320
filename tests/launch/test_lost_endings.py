"""What Python prints of exceptions that a signal's handler raises in a destructor, where nothing can catch them."""

import subprocess
import sys

import pytest

PROGRAM = """
from llpp.errors import Interrupted
from llpp.launch import signals


class Fading:
    def __init__(self, error):
        self.error = error

    def __del__(self):
        raise self.error


signals.hide_lost_endings()
signals.hide_lost_endings()  # as for the next job of a sweep
Fading(Interrupted(143))
Fading(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
Fading(RuntimeError("a real mistake"))
"""


@pytest.mark.slow
def test_only_what_is_said_elsewhere_leaves_no_traceback():
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stderr
    assert printed.count("Traceback") == 1
    assert "a real mistake" in printed
