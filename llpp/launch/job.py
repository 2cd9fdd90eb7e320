"""Running one composed config, from its objects to the report: as a single run, or as a job of a sweep."""

import dataclasses
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from llpp import storage, terminal
from llpp.config import accelerator, read_settings
from llpp.config.read_settings import asks_people
from llpp.distributed import interruption
from llpp.errors import LlppError, OccupiedError, expect
from llpp.launch import gpu_memory, gpu_places, gpu_sharing, launcher, signals, sweep
from llpp.launch.fast_imports import gc_paused
from llpp.run_dir.writable import check_writable

log = logging.getLogger(__name__)
Result = TypeVar("Result")
# Time that a rank has to end after a stop signal; rank 0 also closes the loggers.
GRACE_SECONDS = 5.0
GRACE_SECONDS_RANK_ZERO = 20.0


def job(cfg: DictConfig) -> None:
    """Run a config for Hydra: a failure ends a single run, but must not stop the other jobs of a sweep."""
    if not sweep.is_sweep_worker():
        run_for_hydra(cfg)
        return
    # Elsewhere the command line has done this.
    terminal.accept_any_text()
    terminal.outlive_readers()
    # Between two jobs a signal must end this process: joblib's own code would catch Interrupted, and hang.
    with launcher.preserve_signal_handlers():
        run_for_hydra(cfg)


def run_for_hydra(cfg: DictConfig) -> None:
    """Run a config as a single run or as a job of a sweep, whichever Hydra has begun."""
    install_signal_handlers()
    is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    # With Hydra's switch for debugging, a sweep ends at its first failure and shows the traceback.
    if is_sweep and not os.environ.get("HYDRA_FULL_ERROR"):
        run_sweep_job(cfg)
    else:
        run_single_job(cfg)


def run_single_job(cfg: DictConfig) -> None:
    """Run a config; end the process with exit code 2 and one sentence if it fails for a known reason."""

    def check_and_run() -> str:
        gpu_sharing.check_job(cfg)
        return run_job(cfg)

    run_unless_refused(check_and_run)
    sweep.record_outcome(Path(cfg.paths.run_dir), "done")


def run_unless_refused(call: Callable[[], Result]) -> Result:
    """Return what a function returns; end the process with one sentence if it fails for a known reason."""
    try:
        with storage.explain_os_errors():
            return call()
    except LlppError as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"llpp: {error}", file=sys.stderr)
        sys.exit(2)


def run_sweep_job(cfg: DictConfig) -> None:
    """Run a config as a job of a sweep: record how it ended, and return even if it failed."""
    run_dir = Path(cfg.paths.run_dir)
    since = time.monotonic()
    sweep.announce_job(cfg.paths.run_dir)
    try:
        with storage.explain_os_errors():
            outcome = run_unless_done(cfg)
    except LlppError as error:
        # A directory that belongs to another process or config is not this job's to write to.
        leave = not isinstance(error, OccupiedError)
        sweep.record_outcome(run_dir, "failed", str(error), leave=leave)
        abort_torchrun_job(cfg.paths.run_dir, error)
    except Exception as error:
        log.exception("%s failed", cfg.paths.run_dir)
        sweep.record_outcome(run_dir, "failed", f"{type(error).__name__}: {error}")
        abort_torchrun_job(cfg.paths.run_dir, error)
    except SystemExit as stop_request:
        # A worker of joblib would catch this and start the next job.
        if sweep.is_sweep_worker():
            os._exit(stop_request.code if isinstance(stop_request.code, int) else 1)
        raise
    else:
        sweep.record_outcome(run_dir, outcome, seconds=time.monotonic() - since)


def abort_torchrun_job(run_dir: str, error: Exception) -> None:
    """End a process that torchrun started for a whole sweep; do nothing in other processes.

    It must not begin the next job while other ranks are in this one. When it ends, torchrun ends the others.
    """
    if launcher.is_worker():
        print(f"llpp: {run_dir} failed: {error}; inside torchrun this ends the sweep", file=sys.stderr, flush=True)
        os._exit(1)


def run_unless_done(cfg: DictConfig) -> str:
    """Run a job of a sweep unless it is done, on GPUs that other jobs leave to it.

    Returns:
        The outcome, `done` or `done before`.
    """
    gpu_sharing.check_job(cfg)
    wanted = launcher.count_processes(cfg)
    on_gpu = cfg.trainer.accelerator in ("gpu", "cuda")
    if launcher.is_worker():
        from llpp.distributed import collectives

        collectives.connect(on_gpu, cfg.launch.rank_timeout)
        # Rank 0 decides for all: it alone reads the run directory.
        if collectives.on_rank_zero(lambda: sweep.is_done(cfg)):
            return "done before"
        return run_job(cfg)
    if sweep.is_done(cfg):
        return "done before"
    if on_gpu:
        import torch

        count = torch.cuda.device_count()
        jobs_per_gpu = gpu_sharing.read_jobs_per_gpu(cfg)
        # The only GPU of a machine is for all jobs, unless a number is set.
        is_placed = count > 1 or (count == 1 and jobs_per_gpu is not None)
        # If the job wants more GPUs than there are, the launcher reports it.
        if is_placed and wanted <= count:
            with gpu_places.reserve_gpus(count, wanted, jobs_per_gpu or 1) as numbers:
                try:
                    return run_job(cfg, numbers)
                finally:
                    # While the place is still ours: the next job of this process may get another GPU.
                    gpu_memory.free_cached_memory()
    return run_job(cfg)


def run_job(cfg: DictConfig, gpus: list[int] | None = None) -> str:
    """Run a job; `gpus` are the numbers of the GPUs to use."""
    if not asks_people(cfg):
        return run_rounds_job(cfg, gpus)
    # NumPy and tables of images, which other jobs have no use for so early.
    from llpp.launch import label_job

    outcome = label_job.run_labelling(cfg, lambda config: run_rounds_job(config, gpus))
    label_job.print_outcome(outcome)
    return "done"


def run_rounds_job(cfg: DictConfig, gpus: list[int] | None = None) -> str:
    """Run the rounds of a job in this process, or in one process per device."""
    read_settings.check_folder_names(cfg)
    if launcher.count_processes(cfg) == 1 or launcher.is_worker():
        gpu = gpus[0] if gpus else None
        return run_in_process(cfg, gpu)
    check_before_data(cfg)
    # This module imports NumPy, which takes longer than the report of a wrong setting should.
    from llpp.config.kept_settings import keep_older_choices

    # The ranks do not know what the command says.
    keep_older_choices(cfg)
    launcher.launch_workers(cfg, gpus)
    return "done"


def check_before_data(cfg: DictConfig) -> None:
    """Raise LlppError about settings and storage that can be judged without data and torch."""
    expect(isinstance(cfg.report, DictConfig), "report", cfg.report, "report.write=true or report.write=false")
    read_settings.read_settings(cfg)
    storage.check_shared_memory(read_settings.read_loader_settings(cfg).workers)
    # Only rank 0 writes, and other machines may not see its storage.
    if not launcher.is_worker() or os.environ.get("RANK", "0") == "0":
        check_writable(Path(cfg.paths.run_dir))


@interruption.stop_prevails()
def run_in_process(cfg: DictConfig, gpu: int | None = None) -> str:
    """Run all rounds and write the report in this process; `gpu` is the number of the GPU to use."""
    # Imports are in this order so that mistakes are reported early: NumPy takes a tenth of a second to import, torch
    # takes seconds.
    check_before_data(cfg)
    accelerator.check_accelerator(cfg)
    from llpp.config import instantiate, kept_settings

    # Made before torch is imported, so that missing files are reported at once. In workers, `build.build_run` makes
    # it after all of them are connected.
    data = None
    if not launcher.is_worker():
        kept_settings.keep_decided_settings(cfg)
        data = instantiate.make_dataset(cfg)
    with gc_paused():
        import torch

        from llpp import report
        from llpp.config import build
        from llpp.distributed import collectives
        from llpp.launch import out_of_memory
        from llpp.rounds import loop

    reference = report.get_reference(cfg.report.reference)
    collectives.connect(cfg.trainer.accelerator in ("gpu", "cuda"), cfg.launch.rank_timeout)
    is_rank_zero = collectives.get_rank() == 0
    if not is_rank_zero:
        # Rank 0 reports the progress of all.
        logging.getLogger().setLevel(logging.WARNING)
    loading = dataclasses.asdict(read_settings.read_loader_settings(cfg))
    sharing = gpu_sharing.name_sharing_setting(cfg, torch.cuda.device_count())
    with out_of_memory.explain_resource_errors(loading, cfg.crop.size, sharing):
        run = build.build_run(cfg, gpu, data)
        state = loop.run_rounds(run)
    count = len(state.rounds)
    log.info("%s: %d %s done", cfg.paths.run_dir, count, "round" if count == 1 else "rounds")
    if cfg.report.write and is_rank_zero:
        page = report.write_report([run.directory], run.directory, lambda _: run.data.task, reference)
        log.info("the report is %s", page)
    return "done"


def install_signal_handlers() -> None:
    """Stop in order when asked to."""
    # Python accepts handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        return
    for name in launcher.STOP_SIGNALS:
        signal.signal(getattr(signal, name), interruption.stop)
    signals.hide_lost_endings()
    if launcher.is_worker():
        grace = GRACE_SECONDS_RANK_ZERO if os.environ["RANK"] == "0" else GRACE_SECONDS
        signals.exit_after_grace(launcher.STOP_SIGNALS, grace)
    elif sweep.is_sweep_worker():
        signals.exit_after_grace(launcher.STOP_SIGNALS, GRACE_SECONDS_RANK_ZERO)
