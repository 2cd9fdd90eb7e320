"""Checkpoints that are whole or absent, and that know which round and which program they belong to."""

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
    """Stamps checkpoints with their round's key, so that a stale file is never resumed.

    The digest of the program that began the round goes with it through every resume.
    """

    def __init__(self, key: str, code: str) -> None:
        self.key, self.code = key, code

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add both."""
        checkpoint |= {"llpp_round": self.key, "llpp_code": self.code}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stay with the program that began."""
        self.code = checkpoint["llpp_code"]


class MovableCheckpoint(ModelCheckpoint):
    """Goes on with its best score in whatever directory the files lie now."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore, with all files in the present directory."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        models = {here(path): score for path, score in state_dict["best_k_models"].items()}
        moved = {name: here(state_dict[name]) for name in paths}
        super().load_state_dict({**state_dict, **moved, "best_k_models": models, "dirpath": self.dirpath})


def checkpoint_callbacks(round_dir: Path, key: str, code: str, best_by: str | None) -> list[pl.Callback]:
    """`last.ckpt` after every epoch; with `best_by` (pck or pose_loss) also `best.ckpt` by the validation's.

    The last one is saved last, so that it knows of the best.
    """
    callbacks: list[pl.Callback] = [RoundKey(key, code)]
    if best_by:
        callbacks.append(
            MovableCheckpoint(
                dirpath=round_dir,
                filename="best",
                monitor=f"val/{best_by}",
                mode="min" if best_by == "pose_loss" else "max",
                enable_version_counter=False,
            )
        )
    last = MovableCheckpoint(
        dirpath=round_dir, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [*callbacks, last]
