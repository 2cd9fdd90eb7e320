"""A run directory → the parts of its run, with which `llpp check` trains and judges; the run stays as it is."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llpp.checking.batch import WRITE_INTO_PROJECTS, check_tool
from llpp.checking.cross_fitting import CheckedRun
from llpp.config import build
from llpp.config.compose import conf_dir
from llpp.config.instantiate import make_dataset
from llpp.config.labelling import load_tools
from llpp.config.trusted_targets import check_targets
from llpp.errors import ConfigError, StateError
from llpp.oracles.tool import LabellingTool
from llpp.reliability.rankers import HEAD
from llpp.run_dir.config_file import read_config
from llpp.run_dir.state import RunState, load_state

# Sections of run.yaml in which a run of an older version may lack a setting.
SECTIONS = ("pool", "training", "scoring", "launch", "crop", "data")
NEEDED = ("dataset", "task", "backbone", "head", "objective", "optimizer", "trainer", "crop", "paths")
NO_TOOL = "none"


def read_committed_state(run_dir: Path) -> RunState:
    """The committed rounds of a run; StateError if there is none."""
    if not run_dir.is_dir():
        raise StateError(f"{run_dir} is not a folder; give a run directory, as in runs/demo/predicted_loss/seed0")
    state = load_state(run_dir / "state.json")
    if state is None or not state.rounds:
        raise StateError(f"{run_dir} has no finished round; run its `llpp run` command again to resume")
    return state


@dataclass(frozen=True)
class ChosenTool:
    """The labelling tool that a batch is written for, if any."""

    tool: LabellingTool | None
    half_pixel: bool = False  # see `WriteOptions`
    command: str = ""  # that reads the answers of a project
    remark: str = ""  # why there is none, where a run has one


def load_tool(run_dir: Path, name: str | None) -> ChosenTool:
    """The tool of this name; without a name that of the run, if people label for it. `none` is no tool.

    Raises:
        ConfigError: no such tool, or one that old labels cannot be shown in.
    """
    config, _ = read_config(run_dir)
    tools = load_tools()
    target = _get_section(_get_section(config, "oracle"), "tool").get("_target_")
    half_pixel = bool(_get_section(config, "label").get("half_pixel"))
    command = ""
    if target is not None:
        dataset = _get_section(config, "dataset")
        words = ["llpp", "label", str(dataset.get("root"))]
        if dataset.get("labelling") is not None:
            words.append(f"labelling={dataset['labelling']}")
        command = shlex.join(words)
    if name == NO_TOOL or (name is None and target is None):
        return ChosenTool(None)
    for tool in tools:
        own_target = f"{type(tool).__module__}.{type(tool).__qualname__}"
        if tool.name == name:
            check_tool(tool)
            return ChosenTool(tool, half_pixel, command)
        if name is None and own_target == target:
            if tool.name in WRITE_INTO_PROJECTS:
                remark = f"no batch is written, because {tool.title} has the labels in your own project"
                return ChosenTool(None, remark=f"{remark}: correct the images that labels.csv names there")
            return ChosenTool(tool, half_pixel, command)
    if name is None:
        # A plug-in, whose package may not be trusted.
        return ChosenTool(None, remark="no batch is written for a labelling tool that is not llpp's own")
    known = ", ".join(tool.name for tool in tools if tool.name not in WRITE_INTO_PROJECTS)
    raise ConfigError(f"--tool {name} is not known; use {known}, or {NO_TOOL}")


def open_checked_run(
    run_dir: Path,
    out: Path,
    state: RunState,
    device: str | None = None,
    trusted_packages: Sequence[str] = (),
) -> CheckedRun:
    """Build the parts of a run again, with its own settings, for training on parts of its labels.

    Labels of a project are those in its journal now, corrections included.

    Raises:
        LlppError: a run without a committed round, or whose config names what cannot be trusted or built.
    """
    config, _ = read_config(run_dir)
    for name in NEEDED:
        if not isinstance(config.get(name), dict):
            raise StateError(f"{run_dir / 'config.yaml'} has no section {name}; restore the file from a backup")
    _check_trust(config, run_dir, trusted_packages)
    cfg = _prepare_config(config, out, device)
    run = build.build_run(cfg, dataset=make_dataset(cfg))
    asks_people = "tool" in _get_section(config, "oracle")
    return CheckedRun(run=run, source=run_dir, state=state, asks_people=asks_people)


def _get_section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A section of a config; empty if it has none."""
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _prepare_config(config: dict[str, Any], out: Path, device: str | None) -> DictConfig:
    """The config of a run as that of one round in `out`, which asks nobody and is shown nowhere."""
    shipped: Any = OmegaConf.load(conf_dir() / "run.yaml")
    content = dict(config)
    for name in SECTIONS:
        defaults: Any = OmegaConf.to_container(shipped[name])
        content[name] = defaults | _get_section(content, name)
    content["acquisition"] = OmegaConf.to_container(OmegaConf.load(conf_dir() / "acquisition" / "random.yaml"))
    content["oracle"] = OmegaConf.to_container(OmegaConf.load(conf_dir() / "oracle" / "simulated.yaml"))
    content["logger"] = {}
    # What only a selection reads; runs of older versions lack some of it.
    content |= {"rounds": 1, "audit": 0.0, "audit_tilt": 0.0, "ranker": HEAD}
    content["training"]["base_models"] = None
    content["paths"] = {**content["paths"], "run_dir": str(out)}
    content["trainer"] = {**content["trainer"], "devices": 1, "num_nodes": 1}
    if device is not None:
        content["trainer"]["accelerator"] = device
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
