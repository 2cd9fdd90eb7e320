"""One process of a job on several devices; started by `llpp.launch`."""

import json
import logging.config
import os
import sys

from omegaconf import OmegaConf

from llpp.errors import LlppError, RankError
from llpp.launch import job, launcher, signals
from llpp.launch.fast_imports import gc_paused


def main() -> None:
    """Run the job of the environment; an exception is left where the launcher finds it."""
    with gc_paused():
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        from llpp.distributed import collectives

    signals.die_with_parent(int(os.environ[launcher.PARENT]))
    job.install_signal_handlers()
    errors = get_error_handler()
    given = json.loads(os.environ.pop(launcher.JOB))
    logging.config.dictConfig(given["logging"])
    try:
        job.run_in_process(OmegaConf.create(given["config"]))
    except LlppError as error:
        errors.record_exception(error)
        if isinstance(error, RankError):
            print(f"llpp: {collectives.get_process_name()}: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        errors.record_exception(error)
        raise
    collectives.disconnect()


if __name__ == "__main__":
    main()
