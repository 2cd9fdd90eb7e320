"""Imports without the garbage collector, which would look through what they make again and again and find nothing."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """No collection while something is imported, a tenth of the time of torch and Lightning, nor of it ever after.

    Only where something was: what else is there by then, an earlier job's network say, must be collected.
    """
    if not gc.isenabled():
        yield
        return
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
