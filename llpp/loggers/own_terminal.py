"""Whether a bar can be drawn, without Lightning: a sweep decides before that is imported."""

import os
import sys

# Environment variable of a sweep whose jobs run in processes of their own, so that several may write to one terminal:
# how many run here at the same time, 0 where a cluster decides.
SIDE_BY_SIDE = "LLPP_SIDE_BY_SIDE"


def has_own_terminal() -> bool:
    """Whether standard output is a terminal in which lines can be replaced, and no other job writes to it."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and SIDE_BY_SIDE not in os.environ
