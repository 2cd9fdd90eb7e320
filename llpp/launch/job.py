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

from llpp.config import read_settings
from llpp.errors import Interrupted, LlppError, OccupiedError, expect
from llpp.launch import launcher, signals, sweep
from llpp.launch.fast_imports import gc_paused

log = logging.getLogger(__name__)
GRACE_SECONDS = 5.0, 20.0  # seconds for a rank to leave in when asked to: without, and with loggers to close


def job(cfg: DictConfig) -> None:
    """Hydra's task: a failure ends a single run, but must not stop the other jobs of a sweep."""
    install_signal_handlers()
    if HydraConfig.get().mode != RunMode.MULTIRUN or os.environ.get("HYDRA_FULL_ERROR"):
        try:
            run(cfg)
        except LlppError as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            print(f"llpp: {error}", file=sys.stderr)
            sys.exit(2)
        sweep.record_outcome(Path(cfg.run_dir), "done")
        return
    try:
        outcome = run_unless_done(cfg)
    except LlppError as error:
        sweep.record_outcome(Path(cfg.run_dir), "failed", str(error), leave=not isinstance(error, OccupiedError))
        abort_torchrun_job(cfg.run_dir, error)
    except Exception as error:
        log.exception("%s failed", cfg.run_dir)
        sweep.record_outcome(Path(cfg.run_dir), "failed", f"{type(error).__name__}: {error}")
        abort_torchrun_job(cfg.run_dir, error)
    except SystemExit as leave:  # SIGTERM; a worker of joblib would go on with the next job instead
        if sweep.is_sweep_worker():
            os._exit(leave.code if isinstance(leave.code, int) else 1)
        raise
    else:
        sweep.record_outcome(Path(cfg.run_dir), outcome)


def abort_torchrun_job(run_dir: str, error: Exception) -> None:
    """A rank that torchrun started for a whole sweep must not begin the next job while others are in this one."""
    if launcher.is_worker():
        print(f"llpp: {run_dir} failed: {error}; inside torchrun this ends the sweep", file=sys.stderr, flush=True)
        os._exit(1)


def run_unless_done(cfg: DictConfig) -> str:
    """Run a job of a sweep, unless it is done, on GPUs of its own where the machine has more than it wants."""
    wanted, on_gpu = launcher.count_processes(cfg), cfg.trainer.accelerator in ("gpu", "cuda")
    if launcher.is_worker():
        from llpp.distributed import collectives

        collectives.connect(on_gpu, cfg.rank_timeout)
        return "done before" if collectives.on_rank_zero(lambda: sweep.is_done(cfg)) else run(cfg)
    if sweep.is_done(cfg):
        return "done before"
    if on_gpu:
        import torch

        if wanted <= (count := torch.cuda.device_count()) > 1:
            with sweep.reserve_gpus(count, wanted) as numbers:
                return run(cfg, numbers)
    return run(cfg)


def run(cfg: DictConfig, gpus: list[int] | None = None) -> str:
    """Run a job here, or in a process for each of its devices; `gpus` are the numbers of those to use."""
    if launcher.count_processes(cfg) == 1 or launcher.is_worker():
        return run_in_process(cfg, gpus[0] if gpus else None)
    launcher.launch_workers(cfg, gpus)
    return "done"


def run_in_process(cfg: DictConfig, gpu: int | None = None) -> str:
    """All rounds and the report, in this process; `gpu` is the number of the one to use."""
    expect(isinstance(cfg.report, DictConfig), "report", cfg.report, "report.write=true or report.write=false")
    read_settings.read_settings(cfg)
    from llpp.config import instantiate

    data = None if launcher.is_worker() else instantiate.make_dataset(cfg)
    # NumPy takes a tenth of a second to import, and torch seconds: what can be refused without has been refused
    with gc_paused():
        from llpp import report
        from llpp.config import build
        from llpp.distributed import collectives
        from llpp.launch import out_of_memory
        from llpp.rounds import loop

    reference = report.get_reference(cfg.report.reference)
    collectives.connect(cfg.trainer.accelerator in ("gpu", "cuda"), cfg.rank_timeout)
    if collectives.get_rank() > 0:
        logging.getLogger().setLevel(logging.WARNING)  # the first one tells what goes on
    experiment = build.experiment(cfg, gpu, data)
    with out_of_memory.explain_resource_errors(cfg.data, cfg.crop.size):
        state = loop.run(experiment)
    log.info("%s: %d rounds done", cfg.run_dir, len(state.rounds))
    if cfg.report.write and collectives.get_rank() == 0:
        page = report.write_report([experiment.run_dir], experiment.run_dir, lambda _: experiment.dataset, reference)
        log.info("the report is %s", page)
    return "done"


def install_signal_handlers() -> None:
    """Stop in order when asked to; Python accepts handlers in the main thread only."""
    if threading.current_thread() is threading.main_thread():
        for name in launcher.STOP_SIGNALS:
            signal.signal(getattr(signal, name), stop)
        if launcher.is_worker():
            signals.exit_after_grace(launcher.STOP_SIGNALS, GRACE_SECONDS[os.environ["RANK"] == "0"])


def stop(number: int, _: object) -> None:
    """Leave through every `finally` instead of at once, so that what is open gets closed, W&B's run above all."""
    raise Interrupted(128 + number)
