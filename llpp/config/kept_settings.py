"""Settings that a run keeps from its first start.

Those of a dataset may be null, for the dataset to decide; what it decides may differ between versions of llpp and
with every image that is added. So a run records it, and later starts of the run take it from there. Runs that are
older than a setting keep what they did before, where its default is something else by now.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from llpp.config.compose import conf_dir
from llpp.errors import StateError
from llpp.run_dir.config_file import read_config
from llpp.run_dir.older_runs import ADDED_DATASET_SETTINGS, ADDED_RUN_SETTINGS
from llpp.run_dir.state import load_state

log = logging.getLogger(__name__)
PREDICTED_LOSS = "llpp.acquisition.predicted_loss.PredictedLossAcquisition"
ADAPTIVE = "llpp.acquisition.adaptive.AdaptiveAcquisition"
OLDER_COMPETENCE_LOW = 0.5  # of adaptive, until measurements spoke for a later start


def keep_decided_settings(cfg: DictConfig) -> None:
    """Fill in the null settings of the config's dataset, or its parts, with what the config's run has recorded.

    Nothing changes for a run that is yet to begin. StateError if its state cannot be read.
    """
    keep_older_choices(cfg)
    open_settings = []
    for prefix, node in _walk(cfg.dataset, "dataset"):
        for name in ADDED_DATASET_SETTINGS.get(str(node.get("_target_")), ()):
            if node.get(name) is None:
                open_settings.append((node, name, f"{prefix}.{name}"))
    # A state may be large, and most datasets have no such setting.
    if not open_settings:
        return
    state = load_state(Path(cfg.paths.run_dir) / "state.json")
    if state is None:
        return
    for node, name, full_name in open_settings:
        recorded = state.result_settings.get(full_name)
        if recorded is not None:
            with open_dict(node):
                node[name] = recorded


def keep_older_choices(cfg: DictConfig) -> None:
    """Let a run keep what it began with: choices that were the default then, unless this command makes its own.

    The commands of such runs do not name them, and still have to resume them.
    """
    run_dir = Path(cfg.paths.run_dir)
    try:
        config, _ = read_config(run_dir)
    except StateError:
        # There is no run yet, or this start replaces a damaged config.yaml.
        return
    _keep_older_ranker(cfg, config, run_dir)
    _keep_older_acquisition(cfg, config, run_dir)
    _keep_compilation(cfg, config)


def _keep_older_ranker(cfg: DictConfig, config: Mapping[str, Any], run_dir: Path) -> None:
    """Let the head rank on, where `ranker` is left at its default: older runs had no choice."""
    earlier = ADDED_RUN_SETTINGS["ranker"]
    if cfg.get("ranker") == "auto" and config.get("ranker", earlier) == earlier:
        log.info("%s: ranker=%s, as when this run began", run_dir, earlier)
        cfg.ranker = earlier


def _keep_older_acquisition(cfg: DictConfig, config: Mapping[str, Any], run_dir: Path) -> None:
    """Let an acquisition that was the default select on, where the command does not set what would change it."""
    recorded = config.get("acquisition")
    if not isinstance(recorded, dict):
        return
    default = OmegaConf.load(conf_dir() / "acquisition" / "adaptive.yaml")
    began_with = recorded.get("_target_")
    # A preset with values of its own has chosen, too.
    is_default = OmegaConf.to_container(cfg.acquisition) == OmegaConf.to_container(default)
    if began_with == PREDICTED_LOSS and is_default and not _is_set_in_command("acquisition"):
        log.info("%s: acquisition=predicted_loss, as when this run began", run_dir)
        cfg.acquisition = recorded
        return
    low = recorded.get("competence_low")
    is_older = began_with == cfg.acquisition._target_ == ADAPTIVE and low == OLDER_COMPETENCE_LOW
    leaves_default = cfg.acquisition.get("competence_low") == default.competence_low
    if is_older and leaves_default and not _is_set_in_command("acquisition.competence_low"):
        log.info("%s: acquisition.competence_low=%s, as when this run began", run_dir, low)
        cfg.acquisition.competence_low = low


def _keep_compilation(cfg: DictConfig, config: Mapping[str, Any]) -> None:
    """Let training.compile=auto mean what it has meant so far: more rounds would make it something else."""
    training = config.get("training")
    if cfg.training.get("compile") == "auto" and isinstance(training, dict) and "compile" in training:
        cfg.training.compile = training["compile"]


def _is_set_in_command(name: str) -> bool:
    """Whether the command line sets a setting, or a group or something in it; also where no command line is known.

    The ranks of a job do not know it; what started them has asked.
    """
    if not HydraConfig.initialized():
        return True
    words = [word.lstrip("+~") for word in HydraConfig.get().overrides.task]
    return any(word.startswith((f"{name}=", f"{name}.", f"{name}@")) for word in words)


def _walk(node: Any, prefix: str) -> Iterator[tuple[str, DictConfig]]:
    """Yield a node and those nested in it, with their names."""
    if not isinstance(node, DictConfig):
        return
    yield prefix, node
    for key in list(node):
        yield from _walk(node[key], f"{prefix}.{key}")


def add_decided_settings(node: Mapping[str, Any], decided: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's settings, as nested dictionaries, with what it decided in place of what was null."""
    added = dict(node)
    for name, value in decided.items():
        nested = added.get(name)
        if isinstance(value, Mapping) and isinstance(nested, dict):
            added[name] = add_decided_settings(nested, value)
        else:
            added[name] = value
    return added
