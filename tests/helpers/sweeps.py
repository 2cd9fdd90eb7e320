"""Sweeps whose jobs say where they would run, and do nothing."""

import contextlib
import io
import logging

from llpp.config import compose
from llpp.launch.sweep import summarise_jobs

SILENT = ("hydra/job_logging=disabled", "hydra/hydra_logging=disabled")


def dry_sweep(*words):
    """What a sweep says on stderr, and the run directory of each job that it has started."""
    run_dirs, shown = [], io.StringIO()
    level = logging.root.level
    try:
        with contextlib.redirect_stderr(shown), contextlib.suppress(SystemExit):
            compose.run(lambda cfg: run_dirs.append(cfg.paths.run_dir), ["-m", *SILENT, *words])
    finally:
        summarise_jobs()  # removes the sweep's journal
        # Hydra's `disabled` switches every logger of this process off, for all later tests as well.
        logging.root.setLevel(level)
        for logger in logging.root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.disabled = False
    return shown.getvalue(), run_dirs
