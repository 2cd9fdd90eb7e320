"""The values of `llpp.settings` from a config, and what can be refused before torch is imported."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llpp.config.loader_workers import choose_workers
from llpp.config.trainer_arguments import check_trainer
from llpp.errors import ConfigError, expect
from llpp.setting_rules import CHOICES, RULES, check_setting
from llpp.settings import SECTIONS, HeadTraining, LoaderSettings, Settings

MAX_FOLDER_NAME = 255  # bytes


def read_settings(cfg: Any) -> Settings:
    """Return a run's settings; ConfigError about values that can be judged without data and torch."""
    for name in (*RULES, *CHOICES):
        _check_value(cfg, name)
    read_loader_settings(cfg)
    _check_resident(cfg)
    trainer = cfg.trainer
    if trainer.accelerator == "cpu" and str(trainer.precision).startswith("16"):
        raise ConfigError(f"trainer.precision={trainer.precision} is very slow on CPUs; use bf16-mixed or 32-true")
    check_trainer(cfg)
    values = {}
    for field in dataclasses.fields(Settings):
        section = SECTIONS.get(field.name, "").rstrip(".")
        node = cfg[section] if section else cfg
        values[field.name] = node[field.name]
    return Settings(**values)


def _check_value(cfg: Any, name: str) -> None:
    """Check a setting by its rule, if the config has it: another optimiser may have no lr."""
    value = cfg
    parts = name.split(".")
    for depth, part in enumerate(parts):
        if value is None and depth > 0:
            # A group that is switched off, as in scheduler=none.
            return
        expect(isinstance(value, Mapping), ".".join(parts[:depth]), value, f"settings such as {name}")
        if part not in value:
            return
        value = value[part]
    check_setting(name, value)


def asks_people(cfg: Any) -> bool:
    """Whether the config's oracle is a labelling tool: people give the labels between starts."""
    oracle = cfg.get("oracle")
    return isinstance(oracle, Mapping) and "tool" in oracle


def check_folder_names(cfg: Any) -> None:
    """Raise ConfigError if a folder of the run directory has a name that no file system takes."""
    names = {"paths.runs": str(cfg.paths.runs), "name": str(cfg.name), "paths.run_dir": str(cfg.paths.run_dir)}
    for setting, value in names.items():
        for part in Path(value).parts:
            size = len(os.fsencode(part))
            if size > MAX_FOLDER_NAME:
                raise ConfigError(
                    f"{setting} has a folder's name of {size} bytes ({part[:20]}…), and file systems take "
                    f"{MAX_FOLDER_NAME}; choose a shorter {setting}=…"
                )


def read_loader_settings(cfg: Any) -> LoaderSettings:
    """How the batches of a config are put together; ConfigError."""
    known = [field.name for field in dataclasses.fields(LoaderSettings)]
    values = {name: cfg.data[name] for name in cfg.data}
    for name in values:
        if name not in known:
            raise ConfigError(f"data.{name} is not known; use {', '.join(known)}")
    if values.get("pin_memory") is None:
        values["pin_memory"] = cfg.trainer.accelerator in ("gpu", "cuda")
    check_setting("data.workers", values.get("workers"))
    if values.get("workers") is None:
        values["workers"] = choose_workers(cfg)
    return LoaderSettings(**values)


def read_head_training(cfg: Any) -> HeadTraining:
    """How the head of a config is trained; ConfigError."""
    return HeadTraining(**{field.name: cfg.training[field.name] for field in dataclasses.fields(HeadTraining)})


def _check_resident(cfg: Any) -> None:
    """Raise ConfigError if crops in the device's memory do not go with other settings."""
    if not cfg.crop.resident:
        return
    reason = None
    if not cfg.crop.cache:
        reason = "crop.cache=false: set it to true"
    elif cfg.crop.resample == "worker":
        reason = "crop.resample=worker: set it to device"
    elif cfg.pixel:
        reason = "a pixel augmentation, which works in the loading processes: set pixel=null"
    if reason:
        raise ConfigError(f"crop.resident=device does not go with {reason}, or set crop.resident=null")


def resolve_resampling(cfg: Any) -> str:
    """Where crops are resampled, worker or device; the pixels differ a little, so results depend on it."""
    check_setting("crop.resample", cfg.crop.resample)
    if cfg.crop.resample != "auto":
        return str(cfg.crop.resample)
    on_cpu = cfg.trainer.accelerator == "cpu" and not cfg.crop.resident
    return "worker" if on_cpu else "device"
