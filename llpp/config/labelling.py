"""What a start needs in order to ask people for labels, from a config."""

import dataclasses
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llpp.config.compose import conf_dir
from llpp.config.instantiate import check_kind, make
from llpp.config.kept_settings import keep_older_choices
from llpp.datasets.project.open_project import ProjectOptions
from llpp.errors import ConfigError, expect
from llpp.journal.folder import find_labelling_folder
from llpp.labelling.session import Labelling
from llpp.labelling.settings import LabelSettings
from llpp.oracles.tool import LabellingTool


def build_labelling(cfg: DictConfig, command: str) -> Labelling:
    """The project, tool and settings of a config that asks people, and the command that continues; ConfigError."""
    tool = make(cfg.oracle.tool)
    check_kind(tool, LabellingTool, "oracle.tool")
    is_project = str(cfg.dataset.get("_target_")).endswith(".ProjectDataset")
    if not is_project:
        raise ConfigError(
            f"oracle={tool.name} asks people for labels, which this dataset does not take; set dataset=project and "
            "dataset.root=FOLDER, or use llpp label FOLDER"
        )
    expect(cfg.rounds is None, "rounds", cfg.rounds, "null: a start trains one round, and asks for the next labels")
    keep_older_choices(cfg)
    root = Path(cfg.dataset.root)
    if not root.is_dir():
        raise ConfigError(f"there is no folder {root}; set dataset.root=… to the folder of your images or films")
    folder = find_labelling_folder(root, cfg.dataset.labelling)
    values: dict[str, Any] = OmegaConf.to_container(cfg.label, resolve=True)  # type: ignore[assignment]  # a mapping
    names = [field.name for field in dataclasses.fields(ProjectOptions)]
    dataset: dict[str, Any] = OmegaConf.to_container(cfg.dataset, resolve=True)  # type: ignore[assignment]  # a mapping
    options = {name: dataset[name] for name in names if name in dataset}
    settings = LabelSettings(**values)
    project_options = ProjectOptions(
        **options, lossless=tool.wants_lossless, accept_changed=settings.changed == "accept"
    )
    return Labelling(
        folder=folder,
        root=root,
        run_dir=Path(cfg.paths.run_dir),
        tool=tool,
        tools=load_tools(),
        options=project_options,
        settings=settings,
        budget=cfg.budget,
        acquisition=str(cfg.acquisition._target_).split(".")[-2],
        command=command,
    )


def load_tools() -> list[LabellingTool]:
    """All tools that llpp knows, from the YAML files of the oracles: any of them may have written an answer."""
    tools = []
    for path in sorted((conf_dir() / "oracle").glob("*.yaml")):
        node = OmegaConf.load(path)
        tool = OmegaConf.select(node, "oracle.tool")
        if tool is not None:
            tools.append(make(tool))
    return tools
