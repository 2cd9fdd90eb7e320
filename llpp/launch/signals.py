"""How a process of a job ends when it cannot do so by itself."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable

PR_SET_PDEATHSIG = 1  # Linux: a signal to get when the parent ends


def die_with_parent(parent: int) -> None:
    """A launcher that is killed cannot end its workers; they would go on and keep the run directory."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was faster
            sys.exit(1)


def exit_after_grace(signals: Iterable[str], grace: float) -> None:
    """End this process `grace` seconds after one of `signals`, even if it waits for others inside a collective."""
    asked = {getattr(signal, name) for name in signals}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)  # written to at once, while Python's own handlers wait for the call to return

    def watch() -> None:
        while (number := os.read(reader, 1)[0]) not in asked:  # the end of a loader's process is told here too
            pass
        time.sleep(grace)
        os._exit(128 + number)

    threading.Thread(target=watch, daemon=True).start()
