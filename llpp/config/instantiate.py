"""Objects from nodes of a config, a run's dataset above all; without torch, unless what is made needs it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llpp.config.trusted_targets import check_targets
from llpp.datasets.base import AnyDataset
from llpp.errors import ConfigError, LlppError
from llpp.run_dir.config_file import read_config


def make(node: Any, **extra: Any) -> Any:
    """Instantiate a node; only plain containers reach the objects."""
    with hydra_errors_as_config_errors():
        return instantiate(node, **extra, _convert_="all")


@contextmanager
def hydra_errors_as_config_errors() -> Iterator[None]:
    """Hydra wraps what a constructor raises: pass our own errors on, and put others into one line."""
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        raise cause if isinstance(cause, LlppError) else ConfigError(" ".join(str(error).split())) from error
    except (TypeError, ValueError) as error:  # from a late call, which Hydra does not wrap
        raise ConfigError(" ".join(str(error).split())) from error


def make_dataset(cfg: DictConfig) -> AnyDataset:
    """The dataset of a config, whose splits must not be empty."""
    data = instantiate_dataset(cfg.dataset)
    for split in ("train", "val", "test"):
        if not len(data.records.select_rows(split)):
            raise ConfigError(f"dataset {data.name} has no {split} records; give it some in dataset.*")
    data.check()
    return data


def instantiate_dataset(node: DictConfig) -> AnyDataset:
    """The dataset of a config's node."""
    made: AnyDataset = make(node)
    return made


def rebuild_run_dataset(run_dir: Path, trusted: Sequence[str] = ()) -> AnyDataset:
    """The dataset of a run, built again from its config.yaml; LlppError where that is impossible by now.

    It may be somebody else's run: only llpp's datasets and what `trusted` packages define are built.
    """
    node = read_config(run_dir)[0].get("dataset")
    check_targets(node, run_dir, trusted)
    if not isinstance(node, dict) or "_target_" not in node:
        raise ConfigError(f"{run_dir / 'config.yaml'} has no dataset; start its `llpp run` command again")
    try:
        return make_dataset(OmegaConf.create({"dataset": node}))
    except OmegaConfBaseException as error:
        told = " ".join(str(error).split())
        raise ConfigError(f"{run_dir / 'config.yaml'} does not describe a dataset any more: {told}") from error
