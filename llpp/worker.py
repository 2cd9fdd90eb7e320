"""One process of a job on several devices; started by `llpp.launch`."""

import ctypes
import json
import logging.config
import os
import signal
import sys
import threading
import time

from omegaconf import OmegaConf

from llpp import job, launch
from llpp.errors import LlppError, RankError

PR_SET_PDEATHSIG = 1  # Linux: a signal to get when the parent ends
GRACE = 5.0, 20.0  # seconds to leave in when asked to: without, and with loggers to close


def main() -> None:
    """Run the job of the environment; an exception is left where the launcher finds it."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    from llpp import ranks

    _die_with_parent()
    job.handle_signals()
    _leave_at_last(GRACE[os.environ["RANK"] == "0"])
    errors = get_error_handler()
    given = json.loads(os.environ.pop(launch.JOB))
    logging.config.dictConfig(given["logging"])
    try:
        job.work(OmegaConf.create(given["config"]))
    except LlppError as error:
        errors.record_exception(error)
        if isinstance(error, RankError):
            print(f"llpp: {ranks.name()}: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        errors.record_exception(error)
        raise
    ranks.disconnect()


def _die_with_parent() -> None:
    """A launcher that is killed cannot end its workers; they would go on and keep the run directory."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it was faster
            sys.exit(1)


def _leave_at_last(grace: float) -> None:
    """End this process some seconds after a signal, even if it waits for another one inside a collective."""
    asked = {getattr(signal, name) for name in launch.STOPPING}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)  # written to at once, while Python's own handlers wait for the call to return

    def watch() -> None:
        while (number := os.read(reader, 1)[0]) not in asked:  # the end of a loader's process is told here too
            pass
        time.sleep(grace)
        os._exit(128 + number)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
