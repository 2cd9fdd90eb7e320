"""A job on several devices: one process per device, started and watched by torch's elastic agent.

Neither Hydra nor Lightning starts processes: the composed config is handed to the agent, whose workers
(`llpp.launch.worker`) read it. When one of them fails, the agent ends the others.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from llpp import errors
from llpp.config.accelerator import check_accelerator
from llpp.errors import ConfigError, Interrupted, LlppError, RankError, expect

# Environment variable with the job that workers run. It is not a file, because a config may hold secrets.
JOB = "LLPP_JOB"
PARENT = "LLPP_LAUNCHER"  # environment variable with the launcher's process id
STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")  # the last is what Slurm can be asked to send first
CONNECTION_WORDS = ("connection", "gloo", "nccl", "socket", "timed out")  # in errors of ranks that lost another rank


def count_processes(cfg: DictConfig) -> int:
    """Return the number of processes that a config asks for.

    Raises:
        ConfigError: the numbers of devices, machines and started processes or the batch size do not match.
    """
    each = cfg.trainer.devices
    nodes = cfg.trainer.get("num_nodes", 1)
    expect(type(each) is int and each >= 1, "trainer.devices", each, "a number of devices, 1 or more")
    expect(type(nodes) is int and nodes >= 1, "trainer.num_nodes", nodes, "a number of machines, 1 or more")
    wanted = int(each * nodes)
    started = int(os.environ["WORLD_SIZE"]) if is_worker() else 0
    if started and started != wanted:
        raise ConfigError(
            f"torchrun started {started} processes, but trainer.devices={each} × trainer.num_nodes={nodes} are "
            f"{wanted}; make them equal"
        )
    if not started and nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={nodes}: start the same command on every machine with torchrun --nnodes={nodes} "
            f"--nproc-per-node={each} --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT -m llpp run …"
        )
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if not started and wanted > 1 and tasks != "1":
        raise ConfigError(
            f"srun has started this command {tasks} times, and each would start {wanted} processes; llpp starts one "
            f"per device itself: srun --ntasks=1 llpp run … trainer.devices={each}"
        )
    batch = OmegaConf.select(cfg, "data.batch_size")
    if isinstance(batch, int) and batch % wanted:
        raise ConfigError(
            f"data.batch_size={batch} is that of all devices together and cannot be divided by {wanted}; choose a "
            f"multiple of {wanted}"
        )
    return wanted


def is_worker() -> bool:
    """Whether torchrun, or the agent of another process, started this one."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def list_visible_gpus() -> list[str]:
    """List the names in CUDA_VISIBLE_DEVICES; empty if it does not restrict the GPUs."""
    return [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]


def launch_workers(cfg: DictConfig, gpus: list[int] | None = None) -> None:
    """Run a job in `trainer.devices` processes on this machine, and wait for them.

    Args:
        cfg: the job's config.
        gpus: numbers of the GPUs to use, among the visible ones; None leaves all of them visible.

    Raises:
        ConfigError: there are fewer GPUs than devices.
        LlppError: the one that a process raised.
        RankError: a process failed in another way.
        Interrupted: this process was asked to stop.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    check_accelerator(cfg)
    if cfg.trainer.accelerator in ("gpu", "cuda"):
        import torch

        visible = torch.cuda.device_count()
        if visible < cfg.trainer.devices:
            raise ConfigError(
                f"trainer.devices={cfg.trainer.devices}, but {visible} GPUs are visible here; lower it, or use "
                "trainer=ddp_cpu"
            )
    # The agent's messages would repeat ours.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with (
        _set_environment(cfg, gpus),
        preserve_signal_handlers(),
        tempfile.TemporaryDirectory(prefix="llpp-") as folder,
    ):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=cfg.trainer.devices,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle=",".join(STOP_SIGNALS),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "llpp.launch.worker")
        except ChildFailedError as failed:
            _raise_first(failed.failures)
        except SignalException as stopped:
            raise Interrupted(128 + stopped.sigval) from None


@contextmanager
def _set_environment(cfg: DictConfig, gpus: list[int] | None) -> Iterator[None]:
    """Set the environment variables of the workers, which inherit them, and restore the old ones afterwards."""
    variables = _collect_worker_variables(cfg, gpus)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _collect_worker_variables(cfg: DictConfig, gpus: list[int] | None) -> dict[str, str]:
    """Return the environment variables of the workers: the job, import paths, threads and GPUs."""
    job = {
        "config": OmegaConf.to_container(cfg, resolve=True),
        "logging": OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True),
    }
    import_paths = [path for path in sys.path if path]
    # The cores are shared out, unless the user has chosen the number of threads.
    threads = max(1, (os.cpu_count() or 1) // int(cfg.trainer.devices))
    variables = {
        JOB: json.dumps(job),
        PARENT: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join(import_paths),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    if gpus is not None:
        # If only some GPUs are visible, `gpus` counts those; the variable wants their names on the machine.
        visible = list_visible_gpus()
        names = [visible[number] if visible else str(number) for number in gpus]
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(names)
    return variables


@contextmanager
def preserve_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers afterwards: the agent installs its own and keeps them, and so does a job."""
    before = {}
    for name in STOP_SIGNALS:
        number = getattr(signal, name)
        before[number] = signal.getsignal(number)
    try:
        yield
    finally:
        for number, handler in before.items():
            try:
                signal.signal(number, handler)
            except ValueError:
                # Not in the main thread, where the agent cannot install handlers either.
                return


def _raise_first(failures: dict[int, Any]) -> NoReturn:
    """Raise the error that ended the job, instead of the errors that it caused in other ranks.

    Args:
        failures: torch's record of each process that failed, by rank.

    Raises:
        LlppError: the first one that a process raised; it explains the failure better than any other record.
        RankError: otherwise, about the rank that failed first.
    """
    exceptions = {rank: _read_exception(failure) for rank, failure in failures.items()}
    for kind, text in exceptions.values():
        error_class = getattr(errors, kind, None)
        if isinstance(error_class, type) and issubclass(error_class, LlppError):
            raise error_class(text)

    rank = _find_first_failure(failures, exceptions)
    kind, text = exceptions[rank]
    reason = _describe_failure(failures[rank].exitcode, kind, text)
    raise RankError(f"rank {rank} failed: {reason}. Run the same command again to resume from the last commit")


def _read_exception(failure: Any) -> tuple[str, str]:
    """Return class name and text of the exception that a process recorded; empty strings if it recorded none."""
    message = failure.error_file_data.get("message")
    recorded = message.get("message", "") if isinstance(message, dict) else ""
    kind, _, text = str(recorded).partition(": ")
    return kind, text


def _find_first_failure(failures: dict[int, Any], exceptions: dict[int, tuple[str, str]]) -> int:
    """Return the rank that failed by itself; of several, the one that failed first."""

    def measure_lateness(rank: int) -> tuple[bool, bool, int]:
        failure = failures[rank]
        _, text = exceptions[rank]
        # The agent ends the ranks that are left after a failure.
        ended_by_agent = failure.exitcode in (-signal.SIGTERM, 128 + signal.SIGTERM)
        # A rank that waits for one that has ended loses its connection. Only a rank that left by itself, with a code
        # above 0, can have ended for this reason; a signal is a crash.
        mentions_connection = any(word in text.lower() for word in CONNECTION_WORDS)
        lost_another_rank = mentions_connection and failure.exitcode > 0
        return ended_by_agent, lost_another_rank, failure.timestamp

    return min(failures, key=measure_lateness)


def _describe_failure(exit_code: int, kind: str, text: str) -> str:
    """Describe how a process ended: by its exit code, negative for a signal, and the exception that it recorded."""
    if exit_code == -signal.SIGKILL:
        return "it was killed (SIGKILL), as the system does when memory runs out"
    if kind:
        return f"{kind}: {text}; its traceback is above"
    if exit_code < 0:
        return f"it was ended by {signal.Signals(-exit_code).name}"
    return f"it exited with code {exit_code}"
