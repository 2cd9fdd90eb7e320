"""Which arguments of Lightning's Trainer a config may have, and what to use in place of the others.

Lightning's own errors would come after minutes, or not at all. Nothing here imports torch.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from llpp.errors import ConfigError

ALLOWED = (
    "accelerator", "accumulate_grad_batches", "benchmark", "check_val_every_n_epoch", "detect_anomaly",
    "deterministic", "devices", "enable_autolog_hparams", "enable_model_summary", "gradient_clip_algorithm",
    "gradient_clip_val", "inference_mode", "limit_train_batches", "limit_val_batches", "log_every_n_steps",
    "max_epochs", "max_steps", "max_time", "min_epochs", "min_steps", "num_nodes", "precision", "profiler",
    "reload_dataloaders_every_n_epochs", "val_check_interval",
)  # fmt: skip
# Those that llpp passes to the Trainer itself: why, and what to use.
PASSED_BY_LLPP = {
    "callbacks": "callbacks are a group; use callbacks=lines, callbacks=none or +callbacks.NAME._target_=…",
    "default_root_dir": "it is the run directory; use paths.runs=…",
    "enable_progress_bar": "the callbacks decide; use callbacks=none, or callbacks=lines for plain lines",
    "logger": "loggers are a group; use logger=csv, tensorboard, wandb or none",
    "num_sanity_val_steps": "all images are checked before round 0; use debug=fdr for a run of seconds",
    "plugins": "llpp writes the checkpoints itself; use trainer.precision=… for the precision, else leave it out",
    "strategy": "the number of devices decides; use trainer=ddp trainer.devices=N, or trainer=ddp_cpu",
    "use_distributed_sampler": "llpp shares batches among devices itself; leave it out",
}
FEWER_IMAGES = "use scoring.subset=N to score fewer images of the pool, dataset.test=N to test on fewer"
# Those that do not fit a run of rounds: the values that change nothing, why not others, and what to use.
UNFIT: Mapping[str, tuple[Sequence[Any], str]] = {
    "barebones": ((False,), "resuming needs checkpoints; use callbacks=none logger=none for less around training"),
    "enable_checkpointing": ((None, True), "testing, scoring and resuming read checkpoints; leave it out"),
    "fast_dev_run": ((False, 0), "every round is tested and scored as a whole; use debug=fdr for a run of seconds"),
    "limit_predict_batches": ((None,), f"images without a score cannot be selected; {FEWER_IMAGES}"),
    "limit_test_batches": ((None,), f"tests are scoring passes, which it does not limit; {FEWER_IMAGES}"),
    "model_registry": ((None,), "checkpoints stay in the run directory; leave it out"),
    "overfit_batches": ((0,), "a round trains on all images that are labelled; use debug=overfit"),
    "sync_batchnorm": ((False,), "BatchNorm sees the images of all devices as it is; leave it out"),
}
KNOWN = (*ALLOWED, *PASSED_BY_LLPP, *UNFIT)


def check_trainer(cfg: Any) -> None:
    """Raise ConfigError about arguments of the Trainer that do not go with llpp, or with other settings.

    Single values have passed their own rules.
    """
    for name, value in cfg.trainer.items():
        if name not in KNOWN:
            question = _suggest_similar(name)
            raise ConfigError(f"trainer.{name} is not known to Lightning's Trainer; {question}leave it out")
        reason = _find_objection(name, value)
        if reason is not None:
            raise ConfigError(f"trainer.{name}={value!r} cannot be used: {reason}")
    _check_batches(cfg)
    _check_validation(cfg)


def _find_objection(name: str, value: object) -> str | None:
    """Why an argument of the Trainer cannot have this value, and what to use; None if it can."""
    if name in PASSED_BY_LLPP:
        return PASSED_BY_LLPP[name]
    if name not in UNFIT:
        return None
    harmless, reason = UNFIT[name]
    return None if value in harmless else reason


def explain_absent_argument(name: str, present: Sequence[str]) -> str | None:
    """One sentence about `trainer.NAME`, which the config lacks; None if the Trainer has no such argument either.

    `present` are settings that the config has.
    """
    if name in PASSED_BY_LLPP:
        return f"trainer.{name} cannot be used: {PASSED_BY_LLPP[name]}"
    if name in UNFIT:
        return f"trainer.{name} cannot be used: {UNFIT[name][1]}"
    if name in ALLOWED:
        return f"trainer.{name} is not set so far; write it with a plus, as in +trainer.{name}=VALUE"
    for similar in difflib.get_close_matches(name, ALLOWED, n=1):
        setting = f"trainer.{similar}"
        plus = "" if setting in present else "+"
        return f"trainer.{name} is not known; did you mean {plus}{setting}?"
    return None


def _suggest_similar(name: str) -> str:
    similar = difflib.get_close_matches(name, KNOWN, n=2)
    return f"did you mean {' or '.join(similar)}? Otherwise " if similar else ""


def _check_batches(cfg: Any) -> None:
    """Raise ConfigError if an epoch of round 0, the shortest, lacks the batches that are asked for."""
    batches = cfg.initial // min(cfg.data.batch_size, cfg.initial)
    used = _count_batches(cfg, cfg.initial)
    if used == 0:
        raise ConfigError(
            f"trainer.limit_train_batches={cfg.trainer.limit_train_batches} leaves none of the {batches} batches of "
            f"round 0 (initial={cfg.initial}, data.batch_size={cfg.data.batch_size}); use a larger share, or a whole "
            "number of batches"
        )
    interval = cfg.trainer.get("val_check_interval")
    # Without check_val_every_n_epoch, batches are counted over all epochs.
    if isinstance(interval, int) and interval > used and cfg.trainer.check_val_every_n_epoch is not None:
        raise ConfigError(
            f"trainer.val_check_interval={interval} exceeds the {used} batches of an epoch of round 0; lower it, or "
            "set trainer.check_val_every_n_epoch=null to count over epochs"
        )


def _count_batches(cfg: Any, labelled: int) -> int:
    """Number of batches that an epoch trains with."""
    batches = int(labelled // min(cfg.data.batch_size, labelled))
    limit = cfg.trainer.get("limit_train_batches")
    if isinstance(limit, int):
        return min(batches, limit)
    if isinstance(limit, float):
        return int(batches * limit)
    return batches


def check_validation_share(cfg: Any, images: int, ranks: int) -> None:
    """Raise ConfigError if a share of the validation's batches is asked for that is less than one on some rank."""
    limit = cfg.trainer.get("limit_val_batches")
    if not isinstance(limit, float):
        return
    batches = max(1, math.ceil(images / cfg.data.eval_batch_size) // ranks)
    if 0 < limit * batches < 1:
        raise ConfigError(
            f"trainer.limit_val_batches={limit} is less than one of {batches} batches (data.eval_batch_size="
            f"{cfg.data.eval_batch_size}, {images} images for validation); use a whole number of batches, as in 1"
        )


def _check_validation(cfg: Any) -> None:
    """Raise ConfigError if the best epoch is asked for, and some round ends without a validation."""
    if cfg.training.weights != "best":
        return
    trainer = cfg.trainer
    if trainer.get("limit_val_batches") == 0:
        raise ConfigError(
            f"training.weights=best needs a validation, but trainer.limit_val_batches={trainer.limit_val_batches} "
            "leaves it out; remove it, or set training.weights=last"
        )
    every = trainer.check_val_every_n_epoch
    if every is None:
        return
    if every > trainer.max_epochs:
        raise ConfigError(
            f"training.weights=best needs a validation, but trainer.check_val_every_n_epoch={every} exceeds "
            f"trainer.max_epochs={trainer.max_epochs}; lower it"
        )
    if trainer.get("val_check_interval") is not None:
        return
    # The last round has the most images, and so the longest epochs.
    selections = 0 if cfg.rounds is None else cfg.rounds - 1
    batches = _count_batches(cfg, cfg.initial + cfg.budget * selections)
    needed = every * math.ceil(batches / trainer.get("accumulate_grad_batches", 1))
    if 0 < trainer.get("max_steps", -1) < needed:
        raise ConfigError(
            f"training.weights=best needs a validation, but trainer.max_steps={trainer.max_steps} ends the last "
            f"round before its first one, after {needed} steps; raise it, or lower "
            f"trainer.check_val_every_n_epoch={every}"
        )
