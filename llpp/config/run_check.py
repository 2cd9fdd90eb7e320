"""A run directory → the parts of its run, with which `llpp check` trains and judges, and nothing of the run changes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llpp.checking.cross_fitting import CheckedRun
from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.config.instantiate import make_dataset
from llpp.config.trusted_targets import check_targets
from llpp.errors import StateError
from llpp.run_dir.config_file import read_config
from llpp.run_dir.state import RunState, load_state

# Sections of run.yaml in which a run of an older version may lack a setting.
SECTIONS = ("pool", "training", "scoring", "launch", "crop", "augmentation", "data")
MACHINE = {"cpu": "cpu", "gpu": "gpu"}  # what --device says → trainer.accelerator


def read_committed_state(run_dir: Path) -> RunState:
    """The committed rounds of a run; StateError if there is none."""
    if not run_dir.is_dir():
        raise StateError(f"{run_dir} is not a folder; give a run directory, as in runs/demo/predicted_loss/seed0")
    state = load_state(run_dir / "state.json")
    if state is None or not state.rounds:
        raise StateError(f"{run_dir} has no finished round; run its `llpp run` command again to resume")
    return state


def open_checked_run(
    run_dir: Path, out: Path, device: str | None = None, trusted_packages: Sequence[str] = ()
) -> CheckedRun:
    """Build the parts of a run again, with its own settings, for training on parts of its labels.

    Labels of a project are those in its journal now, corrections included.

    Raises:
        LlppError: a run without a committed round, or whose config names what cannot be trusted or built.
    """
    state = read_committed_state(run_dir)
    config, _ = read_config(run_dir)
    training = config.get("training") or {}
    _check_trust(config, run_dir, trusted_packages)
    cfg = _prepare_config(config, out, device)
    run = build.build_run(cfg, dataset=make_dataset(cfg))
    weights = str(training.get("weights", "last"))
    return CheckedRun(run=run, source=run_dir, state=state, weights=weights)


def _prepare_config(config: dict[str, Any], out: Path, device: str | None) -> DictConfig:
    """The config of a run as that of one round in `out`, which asks nobody and is shown nowhere."""
    shipped = OmegaConf.load(conf_dir() / "run.yaml")
    content = dict(config)
    for name in SECTIONS:
        defaults: Any = OmegaConf.to_container(shipped[name])
        content[name] = defaults | (content.get(name) or {})
    content["acquisition"] = OmegaConf.to_container(OmegaConf.load(conf_dir() / "acquisition" / "random.yaml"))
    content["oracle"] = OmegaConf.to_container(OmegaConf.load(conf_dir() / "oracle" / "simulated.yaml"))
    content["logger"] = {}
    content["rounds"] = 1
    content["training"]["base_models"] = None
    content["paths"] = {**content["paths"], "run_dir": str(out)}
    content["trainer"] = {**content["trainer"], "devices": 1, "num_nodes": 1}
    if device is not None:
        content["trainer"]["accelerator"] = MACHINE[device]
    if "snapshot" in content["dataset"]:
        content["dataset"] = {**content["dataset"], "snapshot": None}
    return OmegaConf.create(content)


def _check_trust(config: dict[str, Any], run_dir: Path, trusted_packages: Sequence[str]) -> None:
    """Refuse a config that names classes which are neither in llpp's own YAML files nor in trusted packages."""
    shipped = set(_list_shipped_targets())
    for name, section in config.items():
        if name in ("logger", "oracle", "acquisition"):
            continue
        check_targets(_drop_known_targets(section, shipped), run_dir, trusted_packages)


def _list_shipped_targets() -> Iterator[str]:
    for path in sorted(conf_dir().rglob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["_target_:"]:
                yield words[1]


def _drop_known_targets(node: Any, known: set[str]) -> Any:
    """The same nested values without the `_target_` of classes in `known`."""
    if isinstance(node, dict):
        kept = {}
        for key, value in node.items():
            if key != "_target_" or value not in known:
                kept[key] = _drop_known_targets(value, known)
        return kept
    if isinstance(node, list):
        return [_drop_known_targets(value, known) for value in node]
    return node
