"""Checkpoints that are whole or absent, and that know which round they belong to."""

import errno
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from llpp.files import replace_with


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and moves into place, so that a kill leaves the previous checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace `path`; OSError if the storage is full."""
        save = super().save_checkpoint
        try:
            replace_with(Path(path), lambda part: save(checkpoint, part, storage_options))
        except RuntimeError as error:  # torch's zip writer does not pass the system's reason on
            raise OSError(errno.EIO, f"the checkpoint could not be written ({error})", str(path)) from error


class RoundKey(pl.Callback):
    """Stamps checkpoints with their round's key, so that a stale file is never resumed."""

    def __init__(self, key: str) -> None:
        self.key = key

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the key."""
        checkpoint["llpp_round"] = self.key


def checkpoint_callbacks(round_dir: Path, key: str, best_by: str | None) -> list[pl.Callback]:
    """`last.ckpt` after every epoch; with `best_by` (pck or pose_loss) also `best.ckpt` by the validation's."""
    last = ModelCheckpoint(
        dirpath=round_dir, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[pl.Callback] = [RoundKey(key), last]
    if best_by:
        callbacks.append(
            ModelCheckpoint(
                dirpath=round_dir,
                filename="best",
                monitor=f"val/{best_by}",
                mode="min" if best_by == "pose_loss" else "max",
                enable_version_counter=False,
            )
        )
    return callbacks
