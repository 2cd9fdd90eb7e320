"""Settings that a run keeps from its first start.

Those of a dataset may be null, for the dataset to decide; what it decides may differ between versions of llpp and
with every image that is added. So a run records it, and later starts of the run take it from there. Runs that are
older than a setting keep what they did before, where its default is something else by now.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from llpp.errors import StateError
from llpp.run_dir.config_file import read_config
from llpp.run_dir.older_runs import ADDED_DATASET_SETTINGS, ADDED_RUN_SETTINGS
from llpp.run_dir.state import load_state

log = logging.getLogger(__name__)


def keep_decided_settings(cfg: DictConfig) -> None:
    """Fill in the null settings of the config's dataset, or its parts, with what the config's run has recorded.

    Nothing changes for a run that is yet to begin. StateError if its state cannot be read.
    """
    _keep_older_ranker(cfg)
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


def _keep_older_ranker(cfg: DictConfig) -> None:
    """Let the head rank on in a run that began with it, where `ranker` is left at its default.

    Runs that began before there was a choice are such; their commands have no ranker, and still have to resume them.
    """
    if cfg.get("ranker") != "auto":
        return
    run_dir = Path(cfg.paths.run_dir)
    try:
        config, _ = read_config(run_dir)
    except StateError:
        # There is no run yet, or this start replaces a damaged config.yaml.
        return
    earlier = ADDED_RUN_SETTINGS["ranker"]
    if config.get("ranker", earlier) == earlier:
        log.info("%s: ranker=%s, as when this run began", run_dir, earlier)
        cfg.ranker = earlier


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
