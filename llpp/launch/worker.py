"""One process of a job on several devices; `llpp.launch.launcher` starts it."""

import json
import logging.config
import os
import sys

from omegaconf import OmegaConf

from llpp import storage, terminal
from llpp.errors import LlppError, RankError
from llpp.launch import job, launcher, signals
from llpp.launch.fast_imports import gc_paused


def main() -> None:
    """Run the job that the launcher put into the environment; record an exception where the launcher reads it."""
    with gc_paused():
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        from llpp.distributed import collectives

    terminal.accept_any_text()
    terminal.outlive_readers()
    signals.die_with_parent(int(os.environ[launcher.PARENT]))
    job.install_signal_handlers()
    errors = get_error_handler()
    # Removed, because the config may hold secrets and child processes inherit the environment.
    description = json.loads(os.environ.pop(launcher.JOB))
    logging.config.dictConfig(description["logging"])
    cfg = OmegaConf.create(description["config"])
    try:
        with storage.explain_os_errors():
            job.run_in_process(cfg)
    except LlppError as error:
        errors.record_exception(error)
        # It is about several ranks, and the launcher shows the error of only one.
        if isinstance(error, RankError):
            print(f"llpp: {collectives.get_process_name()}: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        errors.record_exception(error)
        raise
    collectives.disconnect()


if __name__ == "__main__":
    main()
