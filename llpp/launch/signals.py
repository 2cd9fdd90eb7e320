"""How a process of a job ends when it cannot end by itself."""

import ctypes
import functools
import os
import signal
import sys
import threading
import time

from llpp.errors import Interrupted

PR_SET_PDEATHSIG = 1  # prctl of Linux: the signal that a process gets when its parent ends
POLL_INTERVAL = 0.5  # seconds between looks at whether the parent lives


def die_with_parent(parent: int) -> None:
    """Let the system kill this worker when its launcher, the process `parent`, ends (Linux only).

    A launcher that is killed cannot end its workers; they would continue and keep the run directory locked.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A parent that ended before the call above sends no signal.
    if os.getppid() != parent:
        sys.exit(1)


@functools.cache
def hide_lost_endings() -> None:
    """Print no traceback of an exception by which a signal's handler ends things, where it cannot be raised.

    A handler runs between any two instructions, in a destructor too: there Python prints the exception as ignored,
    and continues. A signal to stop is remembered all the same (`llpp.distributed.interruption`), and the end of a
    process that loads images is noticed when its next batch is due.
    """
    print_traceback = sys.unraisablehook

    def print_others(unraisable: "sys.UnraisableHookArgs") -> None:
        error = unraisable.exc_value
        is_dead_loader = isinstance(error, RuntimeError) and "DataLoader worker" in str(error)
        if not is_dead_loader and not isinstance(error, Interrupted):
            print_traceback(unraisable)

    sys.unraisablehook = print_others


def stop_with_parent(parent: int, grace: float) -> None:
    """Stop this process when `parent` has ended, however it did: by SIGTERM, and after `grace` seconds at once.

    Unlike `die_with_parent` it lets the process end in order, and does not depend on which thread of the parent has
    started it: the system takes the end of that thread for the parent's.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_INTERVAL)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@functools.cache
def exit_after_grace(signals: tuple[str, ...], grace: float) -> None:
    """End this process `grace` seconds after one of `signals`, even while it waits in a collective.

    Calling it again, as for the next job of a sweep, changes nothing.
    """
    stop_numbers = {getattr(signal, name) for name in signals}
    # Python's own handlers run when the current call has returned, which may be never. The wakeup descriptor gets the
    # number of every signal at once.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)

    def watch() -> None:
        number = 0
        # Other signals arrive here too, such as SIGCHLD when a loader's process ends.
        while number not in stop_numbers:
            number = os.read(reader, 1)[0]
        time.sleep(grace)
        os._exit(128 + number)

    threading.Thread(target=watch, daemon=True).start()
