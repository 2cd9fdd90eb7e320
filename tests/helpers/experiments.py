"""Tiny experiments out of the real configuration."""

import copy
import csv
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import OmegaConf

from llpp.config import build
from llpp.config.compose import conf_dir, groups

FIGURES = ("dataset.size=48", "dataset.initial=12", "dataset.pool=24", "dataset.val=4", "dataset.test=8")
TINY = (
    "crop.size=32",
    "backbone.channels=8",
    "initial=12",
    "budget=6",
    "acquisition=predicted_loss",
    "ranker=head",
    "rounds=3",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1",
    "callbacks=none",
    "logger=none",
    "report.write=false",
    "training.base_models=null",
    "data.batch_size=4",
)


PARSER, GROUPS = OverridesParser.create(), groups()


def composed(*overrides):
    """What Hydra makes of them; it takes a quarter of a second for groups, and puts single values in at last."""
    values, others = [], []
    for one in map(_parsed, overrides):
        name = one.key_or_group
        plain = one.type is OverrideType.CHANGE and name not in GROUPS and not name.startswith("hydra")
        (values if plain and not one.is_sweep_override() else others).append(one)
    cfg = copy.deepcopy(_composed(*(one.input_line for one in others)))
    for one in values:
        OmegaConf.update(cfg, one.key_or_group, one.value(), merge=True)
    return cfg


@cache
def _parsed(override):
    return PARSER.parse_override(override)


@cache
def _composed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("run", list(overrides), return_hydra_config=True)


def config(run_dir, *overrides, base=TINY, dataset=FIGURES):
    """The config of a tiny run in `run_dir`."""
    cfg = composed(*base, *dataset, *overrides)
    cfg.paths.run_dir = str(run_dir)
    HydraConfig.instance().set_config(cfg)
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


def tiny(run_dir, *overrides, dataset=FIGURES):
    """A tiny experiment, built."""
    return build.build_run(config(run_dir, *overrides, dataset=dataset))


def rows(run_dir):
    """`rounds.csv` without its times."""
    with Path(run_dir, "rounds.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in csv.DictReader(file)]
