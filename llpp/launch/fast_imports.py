"""Imports without the garbage collector, which would search the new objects again and again and free nothing."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector while modules are imported, and exempt what they create from later collections.

    Collections are a tenth of the time that torch and Lightning take to import.
    """
    # Turned off by the caller, it stays off.
    if not gc.isenabled():
        yield
        return
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # Freezing exempts every object that exists. If nothing was imported, these are an earlier job's, for example
        # its network, and must be collected.
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
