"""A signal that asked this process to stop: remembered, because the exception that it raises can get lost.

A signal arrives between any two instructions. If that is in a destructor, Python prints the exception and continues;
if it is while something is half made, cleaning that up may fail and raise its own error instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from llpp.errors import Interrupted

_received: int | None = None  # the number of the signal


def stop(number: int, _: object) -> None:
    """Handle a signal: raise Interrupted, so that every `finally` runs; what is open must be closed, as W&B's run."""
    global _received
    _received = number
    raise Interrupted(128 + number)


def check() -> None:
    """Raise Interrupted again if a signal has come: to be called where stopping is easy, as before each step."""
    if _received is not None:
        raise Interrupted(128 + _received)


@contextmanager
def stop_prevails() -> Iterator[None]:
    """Raise Interrupted after a signal, whether the block has ended well or with another error."""
    try:
        yield
    except Exception:
        if _received is not None:
            raise Interrupted(128 + _received) from None
        raise
    check()
