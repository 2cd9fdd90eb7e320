"""The jobs of a sweep, as Hydra will start them."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llpp.config.compose import conf_dir

Job = Sequence[str]  # its overrides; all jobs of a sweep override the same settings, in one order
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError)


def list_jobs(config: DictConfig) -> list[Job] | None:
    """List the jobs in the order in which Hydra starts them, from the sweep's config with Hydra's part.

    Returns:
        None for a sweeper that chooses jobs as it goes, and for words that cannot be swept, which Hydra explains.
    """
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_")).endswith(f".{BasicSweeper.__name__}"):
        return None
    # Unresolved: in ${…}, each job has its own value.
    typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    try:
        words = [f"{name}={value}" for name, value in (sweeper.get("params") or {}).items()]
        overrides = OverridesParser.create(config_loader=get_loader()).parse_overrides([*words, *typed])
        (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    except COMPOSE_ERRORS:
        return None
    return list(jobs)


def explain_asking_jobs(config: DictConfig) -> str | None:
    """Say why several jobs cannot ask people for labels; None if they do not, or there is one only."""
    jobs = list_jobs(config) or []
    tools = list_asking_oracles()
    asking = None
    for job in jobs:
        oracle = str(config.hydra.runtime.choices.get("oracle"))
        for word in job:
            name, _, value = word.partition("=")
            if name == "oracle":
                oracle = value
            elif name == "experiment" and value == "label":
                oracle = "label_studio"
        if oracle in tools:
            asking = oracle
    if asking is None or len(jobs) < 2:
        return None
    return (
        f"oracle={asking} asks people for labels, and only one run of a project does that, not {len(jobs)}; start "
        "one without -m, or compare methods with the labels that there are: oracle=simulated dataset=project"
    )


def list_asking_oracles() -> set[str]:
    """List the oracles that are labelling tools."""
    names = set()
    for path in (conf_dir() / "oracle").glob("*.yaml"):
        if OmegaConf.select(OmegaConf.load(path), "oracle.tool") is not None:
            names.add(path.stem)
    return names


def get_loader() -> ConfigLoader:
    """Return what Hydra reads groups of settings with, while it runs."""
    loader: ConfigLoader = GlobalHydra.instance().config_loader()
    return loader
