"""The values of `llpp.settings` from a config, and what can be refused before torch is imported."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from llpp.errors import ConfigError, expect
from llpp.setting_rules import CHOICES, RULES, check_setting
from llpp.settings import HeadTraining, LoaderSettings, Settings

DATASET_RUN_KEYS = ("grow", "cache", "resident")  # what a dataset's node says about the run


def read_settings(cfg: Any) -> Settings:
    """The shape of the run that a config asks for; ConfigError about what takes neither data nor torch to judge."""
    for name in (*RULES, *CHOICES):
        value, parts = cfg, name.split(".")
        while parts and isinstance(value, Mapping) and parts[0] in value:
            value = value[parts.pop(0)]
        expect(not parts or isinstance(value, Mapping), name.split(".")[0], value, f"settings such as {name}")
        if not parts:  # an optimiser of somebody's own may have no lr
            check_setting(name, value)
    read_loader_settings(cfg)
    _check_resident(cfg)
    trainer = cfg.trainer
    if trainer.accelerator == "cpu" and str(trainer.precision).startswith("16"):
        raise ConfigError(f"trainer.precision={trainer.precision} is very slow on CPUs; use bf16-mixed or 32-true")
    if cfg.weights == "best" and trainer.check_val_every_n_epoch > trainer.max_epochs:
        raise ConfigError(
            f"weights=best needs a validation, but trainer.check_val_every_n_epoch={trainer.check_val_every_n_epoch} "
            f"exceeds trainer.max_epochs={trainer.max_epochs}; lower it"
        )
    return Settings(**{field.name: cfg[field.name] for field in dataclasses.fields(Settings)})


def read_loader_settings(cfg: Any) -> LoaderSettings:
    """How the batches of a config are put together; ConfigError."""
    known = [field.name for field in dataclasses.fields(LoaderSettings)]
    if strange := [name for name in cfg.data if name not in known]:
        raise ConfigError(f"data.{strange[0]} is not known; use {', '.join(known)}")
    given = {name: cfg.data[name] for name in cfg.data}
    if given.get("pin_memory") is None:
        given["pin_memory"] = cfg.trainer.accelerator in ("gpu", "cuda")
    return LoaderSettings(**given)


def read_head_training(cfg: Any) -> HeadTraining:
    """How the head of a config is trained; ConfigError."""
    return HeadTraining(**{field.name: cfg[field.name] for field in dataclasses.fields(HeadTraining)})


def _check_resident(cfg: Any) -> None:
    for fits, wrong in (
        (cfg.dataset.cache, "dataset.cache=false: set it to true"),
        (cfg.crop.resample != "worker", "crop.resample=worker: set it to device"),
        (not cfg.pixel, "a pixel augmentation, which works in the loading processes: set pixel=null"),
    ):
        if cfg.dataset.resident and not fits:
            raise ConfigError(f"dataset.resident=device does not go with {wrong}, or set dataset.resident=null")


def resolve_resampling(cfg: Any) -> str:
    """Where crops are resampled, worker or device; the pixels differ a little, so it is science."""
    check_setting("crop.resample", cfg.crop.resample)
    automatic = "worker" if cfg.trainer.accelerator == "cpu" and not cfg.dataset.resident else "device"
    return automatic if cfg.crop.resample == "auto" else str(cfg.crop.resample)
