"""What Lightning is to do otherwise than it does by itself."""

import datetime
import inspect
import logging
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from llpp.errors import ConfigError

# Not measured yet: the rows `first_step_…` of `python -m benchmarks --nvidia` time the first step and those after it.
CUDNN_PLANS = 4


def build_ddp_strategy(timeout: float) -> DDPStrategy:
    """Gradients are averaged; statistics of BatchNorm are equal on all ranks, so they need no broadcast."""
    known = inspect.signature(DistributedDataParallel).parameters
    buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    return DDPStrategy(timeout=datetime.timedelta(seconds=timeout), gradient_as_bucket_view=True, **buffers)


def build_environment(several: bool) -> list[ClusterEnvironment]:
    """The plugin that keeps a run on one device to itself; with several, Lightning finds torchrun's variables.

    Without it Lightning takes the variables of Slurm, LSF or MPI around a single process for its own: it refuses
    their number of tasks, or takes this process for a rank that writes nothing.
    """
    if several:
        return []
    environment = LightningEnvironment()
    environment.set_global_rank(0)
    return [environment]


def silence_lightning() -> None:
    """Keep what a person should read, drop the rest."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*does not have many workers.*",  # the number of workers is data.workers, whose default is on purpose
        r".*Checkpoint directory .* exists and is not empty.*",  # a resumed round
        r".*isinstance\(treespec, LeafSpec\).*",  # Lightning 2.6 with torch 2.13
        r".*sync_dist=True.*when logging on epoch level.*",  # what is logged there is equal on all ranks
        r".*was called before the ``update`` method.*",  # a rank without images
        r".*The number of training batches.*",  # few batches per epoch are normal in a first round
        r".*Total length of `DataLoader` across ranks is zero.*",  # dataset.val=0, of which llpp says what it means
        r".*Experiment logs directory .* exists.*",
    ):
        warnings.filterwarnings("ignore", message)


def disable_signal_handlers(trainer: pl.Trainer) -> None:
    """Its handler of SIGTERM waits for the other ranks, which may be waiting for this one; llpp has its own."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def resume_at_epochs(trainer: pl.Trainer) -> None:
    """Let a training with `max_steps` resume as any other: Lightning would go on with the epoch after the next."""
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def bound_cudnn_search() -> None:
    """Let trainer.benchmark=true time fewer plans of a convolution than torch's ten; nothing without a GPU.

    The first step waits for all of them. cuDNN lists first what it expects to be fastest.
    """
    if torch.backends.cudnn.is_available():  # type: ignore[no-untyped-call]
        torch.backends.cudnn.benchmark_limit = CUDNN_PLANS


def resolve_precision(asked: str, accelerator: str) -> str:
    """What `trainer.precision=auto` means on this machine; other values stay, but fp16 on a CPU is a ConfigError.

    bf16 where it is fast: on a GPU that has it, and on a CPU whose dot products of it are faster than those of
    float32. Intel's without AMX have such instructions too, but their convolutions are slower than in float32.
    """
    if accelerator == "cpu" and str(asked).startswith("16"):
        raise ConfigError(f"trainer.precision={asked} is very slow on CPUs; use bf16-mixed or 32-true")
    if asked != "auto":
        return asked
    if accelerator in ("gpu", "cuda"):
        has = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if has else "32-true"
    if accelerator != "cpu":
        return "32-true"
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    dot_products = bool(found.get("avx512_bf16")) and "intel" not in str(found.get("cpu_name", "")).lower()
    return "bf16-mixed" if found.get("amx_bf16") or dot_products else "32-true"
