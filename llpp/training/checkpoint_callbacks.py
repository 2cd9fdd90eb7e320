"""When a round's checkpoints are written, and what they say about the round."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from llpp.distributed import collectives
from llpp.errors import TrainingError
from llpp.run_dir.checkpoints import make_damage_error

CHECKPOINT_NAMES = ("best.ckpt", "last.ckpt")
BAD_CHECKPOINT_ERRORS = (
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what unfit values end in


class RoundKey(pl.Callback):
    """Stamps checkpoints with their round's key, so that a stale file is never resumed.

    The digest of the program that began the round goes with it through every resume.
    """

    def __init__(self, key: str, code: str) -> None:
        self.key, self.code = key, code
        self.resumed = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add key and program digest."""
        checkpoint |= {"llpp_round": self.key, "llpp_code": self.code}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the digest of the program that began the round."""
        self.code = str(checkpoint["llpp_code"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The checkpoint has been restored completely."""
        self.resumed = True

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Before training begins, what does not fit is the checkpoint's: its key alone does not prove its content."""
        known = isinstance(exception, torch.OutOfMemoryError) or not isinstance(exception, BAD_CHECKPOINT_ERRORS)
        if trainer.ckpt_path and not self.resumed and not known:
            raise make_damage_error(Path(trainer.ckpt_path), exception) from exception


class MovableCheckpoint(ModelCheckpoint):
    """Keeps its best score when the run directory has been moved; only epochs with a score can be the best."""

    def check_monitor_top_k(self, trainer: pl.Trainer, current: torch.Tensor | None = None) -> bool:
        """Whether the epoch that ends is the best so far; never with an undefined score."""
        # Lightning itself would keep the first epoch in any case, and take a NaN for the worst of all scores.
        if current is None or not bool(torch.isfinite(current)):
            return False
        return super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore, with all files in the present directory."""

        def relocate(path: str) -> str:
            if path and Path(path).name not in CHECKPOINT_NAMES:  # Lightning deletes what is no longer the best
                raise ValueError(f"it names a checkpoint {Path(path).name!r}")
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        models = {relocate(path): score for path, score in state_dict["best_k_models"].items()}
        moved = {name: relocate(state_dict[name]) for name in paths}
        super().load_state_dict({**state_dict, **moved, "best_k_models": models, "dirpath": self.dirpath})


class LastCheckpoint(MovableCheckpoint):
    """`last.ckpt` after the first and the last epoch, and in between so rarely that writing takes 5 % of the time.

    On a GPU, an epoch of a first round lasts no longer than writing a checkpoint. A crash can cost twenty times as
    long as it takes to write one.
    """

    share = 0.05  # of the time
    saved = -math.inf  # when the last one was complete
    cost = 0.0  # seconds that it took

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time."""
        began = time.monotonic()
        needed = _is_last_epoch(trainer) or _has_new_best(trainer)
        if not needed and not collectives.on_rank_zero(lambda: began - self.saved >= self.cost / self.share):
            return
        super().on_train_epoch_end(trainer, pl_module)
        self.saved = time.monotonic()
        self.cost = self.saved - began


def _is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether the epoch that ends is the last one; all ranks know. `fit_loop.done` would change what is saved."""
    epochs = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs > 0
    return bool(trainer.should_stop or epochs or 0 <= trainer.max_steps <= trainer.global_step)


def _has_new_best(trainer: pl.Trainer) -> bool:
    """Whether this epoch is kept as the best one.

    `last.ckpt` must know of it, or a resumed training would compare with an older best.
    """
    kept = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
    return any(callback._last_global_step_saved == trainer.global_step for callback in kept)


def check_best_is_known(trainer: pl.Trainer, number: int) -> None:
    """Raise TrainingError if the best epoch of round `number` was to be kept, and no epoch had a score."""
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, MovableCheckpoint) or callback.monitor is None:
            continue
        score = callback.best_model_score
        if score is None or not bool(torch.isfinite(score)):
            raise TrainingError(
                f"round {number} has no best epoch, because {callback.monitor} was never a finite number; set "
                "training.weights=last or another training.best_by (metric, loss), and see that the validation "
                "images have labels"
            )


@dataclass(frozen=True)
class BestBy:
    """By which of the validation's values the best epoch is chosen."""

    monitored: str  # as it is logged
    higher_is_better: bool


def build_checkpoint_callbacks(round_dir: Path, key: str, code: str, best_by: BestBy | None) -> list[pl.Callback]:
    """`last.ckpt` after epochs; with `best_by` also `best.ckpt`.

    The last one is saved last, so that it knows of the best.
    """
    callbacks: list[pl.Callback] = [RoundKey(key, code)]
    if best_by:
        callbacks.append(
            MovableCheckpoint(
                dirpath=round_dir,
                filename="best",
                monitor=best_by.monitored,
                mode="max" if best_by.higher_is_better else "min",
                enable_version_counter=False,
            )
        )
    last = LastCheckpoint(
        dirpath=round_dir, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [*callbacks, last]
