"""A job on several devices: one process for each, started and watched by torch's elastic agent.

Neither Hydra nor Lightning start processes: the job's finished config is handed to the agent, whose workers
(`llpp.worker`) read it. When one of them fails, the agent ends the others.
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
from llpp.errors import ConfigError, Interrupted, LlppError, RankError, expect

JOB = "LLPP_JOB"  # names the variable that hands a job to its workers; no file, because a config may hold secrets
PARENT = "LLPP_LAUNCHER"  # names the variable with the launcher's process id
STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")  # the last is what Slurm sends before it ends a job


def count_processes(cfg: DictConfig) -> int:
    """Number of processes that a config asks for; ConfigError if what started this one does not fit."""
    each, nodes = cfg.trainer.devices, cfg.trainer.get("num_nodes", 1)
    expect(type(each) is int and each >= 1, "trainer.devices", each, "a number of devices, 1 or more")
    expect(type(nodes) is int and nodes >= 1, "trainer.num_nodes", nodes, "a number of machines, 1 or more")
    started = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0
    if started and started != each * nodes:
        raise ConfigError(
            f"torchrun started {started} processes, but trainer.devices={each} × trainer.num_nodes={nodes} are "
            f"{each * nodes}; make them equal"
        )
    if not started and nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={nodes}: start the same command on every machine with torchrun --nnodes={nodes} "
            f"--nproc-per-node={each} --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT -m llpp run …"
        )
    batch = OmegaConf.select(cfg, "data.batch_size")
    if isinstance(batch, int) and batch % (each * nodes):
        raise ConfigError(
            f"data.batch_size={batch}, that of all devices together, cannot be shared by {each * nodes}; choose a "
            "multiple"
        )
    return int(each * nodes)


def is_worker() -> bool:
    """Whether torchrun, or the agent of another process, started this one."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch_workers(cfg: DictConfig, gpus: list[int] | None = None) -> None:
    """Run a job in `trainer.devices` processes on this machine, and wait for them.

    `gpus` are numbers among the visible ones. Raises what the first process raised that failed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if cfg.trainer.accelerator in ("gpu", "cuda"):
        import torch

        if (found := torch.cuda.device_count()) < cfg.trainer.devices:
            raise ConfigError(
                f"trainer.devices={cfg.trainer.devices}, but there are {found} GPUs to be seen here; lower it, or "
                "use trainer=ddp_cpu"
            )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what they say is said here
    with (
        _set_environment(cfg, gpus),
        _preserve_signal_handlers(),
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
    job_logging = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
    given = {"config": OmegaConf.to_container(cfg, resolve=True), "logging": job_logging}
    added = {
        JOB: json.dumps(given),
        PARENT: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    threads = max(1, (os.cpu_count() or 1) // int(cfg.trainer.devices))
    added["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
    if gpus is not None:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        added["CUDA_VISIBLE_DEVICES"] = ",".join(visible[n] if visible else str(n) for n in gpus)
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _preserve_signal_handlers() -> Iterator[None]:
    """The agent takes over the handling of signals, and would keep it."""
    names = [getattr(signal, name) for name in STOP_SIGNALS]
    before = {number: signal.getsignal(number) for number in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            try:
                signal.signal(number, handler)
            except ValueError:  # not the main thread, so nothing was taken over
                return


def _raise_first(failures: dict[int, Any]) -> NoReturn:
    """Raise what ended the job: one of our own sentences, or a crash, before what crashes cause in others."""
    told = {rank: _read_exception(failure) for rank, failure in failures.items()}
    for kind, sentence in told.values():
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, LlppError):
            raise known(sentence)

    def measure_lateness(rank: int) -> tuple[bool, bool, int]:
        code, sentence = failures[rank].exitcode, told[rank][1].lower()
        ended = code in (-signal.SIGTERM, 128 + signal.SIGTERM)  # by the agent
        lost = any(word in sentence for word in ("connection", "gloo", "nccl", "socket", "timed out"))
        return ended, lost and code > 0, failures[rank].timestamp

    rank = min(failures, key=measure_lateness)
    code, (kind, sentence) = failures[rank].exitcode, told[rank]
    if code == -signal.SIGKILL:
        sentence = "it was killed (SIGKILL), as the system does when memory runs out"
    elif kind:
        sentence = f"{kind}: {sentence}; its traceback is above"
    else:
        sentence = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it left with exit code {code}"
    raise RankError(f"rank {rank} failed: {sentence}. The same command goes on from the last commit")


def _read_exception(failure: Any) -> tuple[str, str]:
    """Name and text of the exception that a process recorded; empty if it could not."""
    message = failure.error_file_data.get("message")
    text = message.get("message", "") if isinstance(message, dict) else ""
    kind, _, sentence = str(text).partition(": ")
    return kind, sentence
