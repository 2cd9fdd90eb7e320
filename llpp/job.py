"""One composed config, from building to the report; alone, or as a job of a sweep."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from llpp import sweep
from llpp.errors import LlppError, OccupiedError, expect

log = logging.getLogger(__name__)


def job(cfg: DictConfig) -> None:
    """Hydra's task: a failure ends a single run, but must not stop the other jobs of a sweep."""
    if threading.current_thread() is threading.main_thread():  # Python accepts no handler elsewhere
        signal.signal(signal.SIGTERM, stop)
    if HydraConfig.get().mode != RunMode.MULTIRUN or os.environ.get("HYDRA_FULL_ERROR"):
        try:
            run(cfg)
        except LlppError as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            print(f"llpp: {error}", file=sys.stderr)
            sys.exit(2)
        sweep.note(Path(cfg.run_dir), "done")
        return
    try:
        outcome = run_unless_done(cfg)
    except LlppError as error:
        sweep.note(Path(cfg.run_dir), "failed", str(error), leave=not isinstance(error, OccupiedError))
    except Exception as error:
        log.exception("%s failed", cfg.run_dir)
        sweep.note(Path(cfg.run_dir), "failed", f"{type(error).__name__}: {error}")
    except SystemExit as leave:  # SIGTERM; a worker of joblib would go on with the next job instead
        if sweep.in_worker():
            os._exit(leave.code if isinstance(leave.code, int) else 1)
        raise
    else:
        sweep.note(Path(cfg.run_dir), outcome)


def run_unless_done(cfg: DictConfig) -> str:
    """Run a job of a sweep, unless it is done, on a GPU of its own if it wants one of several."""
    if sweep.is_done(cfg):
        return "done before"
    if cfg.trainer.accelerator in ("gpu", "cuda") and cfg.trainer.devices == 1:
        import torch

        if (count := torch.cuda.device_count()) > 1:
            with sweep.free_gpu(count) as number:
                return run(cfg, number)
    return run(cfg)


def run(cfg: DictConfig, gpu: int | None = None) -> str:
    """All rounds and the report; `gpu` is the number of the one to use."""
    from llpp import build, loop
    from llpp import report as reports

    expect(isinstance(cfg.report, DictConfig), "report", cfg.report, "report.write=true or report.write=false")
    reference = reports.published(cfg.report.reference)
    experiment = build.experiment(cfg, gpu)
    state = loop.run(experiment)
    log.info("%s: %d rounds done", cfg.run_dir, len(state.rounds))
    if cfg.report.write:
        page = reports.write([experiment.run_dir], experiment.run_dir, lambda _: experiment.dataset, reference)
        log.info("the report is %s", page)
    return "done"


def stop(number: int, _: object) -> None:
    """Leave through every `finally` instead of at once, so that what is open gets closed, W&B's run above all."""
    sys.exit(128 + number)
