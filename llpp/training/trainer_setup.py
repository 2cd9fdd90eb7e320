"""What Lightning is to do otherwise than it does by itself."""

import datetime
import inspect
import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from llpp.errors import ConfigError, TrainingError


def build_ddp_strategy(timeout: float) -> DDPStrategy:
    """Gradients are averaged; statistics of BatchNorm are equal on all ranks, so they need no broadcast."""
    known = inspect.signature(DistributedDataParallel).parameters
    buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    return DDPStrategy(timeout=datetime.timedelta(seconds=timeout), gradient_as_bucket_view=True, **buffers)


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
        r".*Experiment logs directory .* exists.*",
    ):
        warnings.filterwarnings("ignore", message)


def train(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    checkpoint: Path | None,
    best: Path | None,
) -> None:
    """Train from the start or from a checkpoint; `best` is the file with the best epoch, if there is to be one.

    Raises:
        ConfigError: Lightning refuses an argument of the Trainer now that it knows the number of batches.
        TrainingError: there was no step, or no validation that could find the best epoch.
    """
    try:
        trainer.fit(module, data, ckpt_path=checkpoint)
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"trainer: {reason}") from error
    if trainer.global_step == 0:
        raise TrainingError(
            "training ended before its first step, so there is no model; remove the callback or the setting of "
            "trainer that ends it"
        )
    if best is not None and not best.exists():
        raise TrainingError(
            "training ended before its first validation, so no epoch is the best; validate earlier "
            "(trainer.check_val_every_n_epoch=1), train longer (trainer.max_steps, trainer.max_time), or set "
            "training.weights=last"
        )


def disable_signal_handlers(trainer: pl.Trainer) -> None:
    """Its handler of SIGTERM waits for the other ranks, which may be waiting for this one; llpp has its own."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


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
