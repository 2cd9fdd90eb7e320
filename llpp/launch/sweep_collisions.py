"""Jobs of a sweep that would share a run directory, found before the first of them trains."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, flag_override

from llpp.config.unreadable_words import quote_value
from llpp.launch.sweep_jobs import COMPOSE_ERRORS, Job, get_loader, list_jobs

MAX_NAME_LENGTH = 200  # of a name that is suggested; file systems take 255 bytes


def find_shared_run_dir(config: DictConfig) -> str | None:
    """Return one sentence about jobs of a sweep that would share a run directory; None if each has its own.

    Args:
        config: the sweep's, with Hydra's part.
    """
    jobs = list_jobs(config)
    if jobs is None:
        return None
    with restore_hydra_config():
        try:
            run_dirs = _list_run_dirs(config, jobs)
        except COMPOSE_ERRORS:
            # Hydra composes every job before the first one starts, and explains what is wrong with it.
            return None
        groups = _group_equal(run_dirs)
        if not groups:
            return None
        repeated = _group_equal([tuple(job) for job in jobs])
        if repeated:
            return f"{_name_two_jobs(repeated[0])} of this sweep are the same; give each value once"
        first, second = groups[0][:2]
        differing = _list_differing_settings([jobs[first], jobs[second]])
        problem = (
            f"{_name_two_jobs(groups[0])} of this sweep would share the run directory "
            f"{os.path.relpath(run_dirs[first])}: they differ in {' and '.join(differing)} only"
        )
        name = _suggest_name(config, jobs, groups)
        if name is None:
            return f"{problem}; write it into paths.run_dir, as in {_refer_to(differing[0])}"
        return f"{problem}; write it into their names: {shlex.quote(f'name={name}')}"


def _name_two_jobs(positions: Sequence[int]) -> str:
    """Name the first two of some jobs, counted from 1 as in "job 2 of 4"."""
    first, second = positions[:2]
    return f"jobs {first + 1} and {second + 1}"


def _list_run_dirs(config: DictConfig, jobs: Sequence[Job], names: Sequence[str] | None = None) -> list[str]:
    """Find the run directory of each job, or the one that it would have with another name."""
    return [os.path.normpath(Path(job.paths.run_dir).absolute()) for job in compose_jobs(config, jobs, names)]


def compose_jobs(config: DictConfig, jobs: Sequence[Job], names: Sequence[str] | None = None) -> Iterator[DictConfig]:
    """Compose each job, with another name if `names` are given; a config is good until the next one is wanted.

    Composing takes a sixth of a second, so jobs that differ in single values share one composition: Hydra puts
    single values in last, too.
    """
    loader = get_loader()
    # Jobs have most of their words in common.
    parse = cache(OverridesParser.create(config_loader=loader).parse_override)
    is_value = cache(lambda word: _is_value(parse(word)))
    composed: dict[Job, tuple[DictConfig, Any]] = {}
    for number, words in enumerate(jobs):
        others = tuple(word for word in words if not is_value(word))
        if others not in composed:
            job = loader.load_sweep_config(config, list(others))
            HydraConfig.instance().set_config(job)
            composed[others] = (job, HydraConfig.instance().cfg)
        job, hydra_part = composed[others]
        # ${hydra:…} reads this. A run directory may contain the number of its job.
        HydraConfig.instance().cfg = hydra_part
        with flag_override(hydra_part.hydra, ["readonly", "struct"], False):
            hydra_part.hydra.job.num = number
            hydra_part.hydra.job.id = str(number)
        for word in words:
            if is_value(word):
                OmegaConf.update(job, parse(word).key_or_group, parse(word).value(), merge=True)
        if names is not None:
            job.name = names[number]
        yield job


def _is_value(override: Override) -> bool:
    """Whether an override replaces one value, and neither chooses a file nor adds or removes settings."""
    is_change = override.type is OverrideType.CHANGE
    return is_change and not isinstance(override.value(), dict) and not _is_group(override.key_or_group)


def _is_group(setting: str) -> bool:
    return bool(get_loader().get_group_options(setting))


@contextmanager
def restore_hydra_config() -> Iterator[None]:
    """Put Hydra's config back afterwards; composing jobs replaces it."""
    before = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _group_equal(values: Sequence[Any]) -> list[list[int]]:
    """Group the positions of equal values; positions of values that occur once are left out."""
    positions: dict[Any, list[int]] = {}
    for position, value in enumerate(values):
        positions.setdefault(value, []).append(position)
    return [group for group in positions.values() if len(group) > 1]


def _list_differing_settings(jobs: Sequence[Job]) -> list[str]:
    """List the names of settings that are not the same in all of some jobs."""
    differing = []
    for words in zip(*jobs, strict=True):
        if len(set(words)) > 1:
            differing.append(words[0].partition("=")[0].lstrip("+"))
    return differing


def _suggest_name(config: DictConfig, jobs: Sequence[Job], groups: Sequence[Sequence[int]]) -> str | None:
    """Return a value of `name`, as Hydra reads it, that gives each job its own run directory; None if none does."""
    missing = set()
    for group in groups:
        missing.update(_list_differing_settings([jobs[number] for number in group]))
    swept = _list_differing_settings(jobs)
    names = []
    patterns = []
    for job in compose_jobs(config, jobs):
        names.append(str(job.name))
        unresolved: Any = OmegaConf.to_container(OmegaConf.masked_copy(job, ["name"]), resolve=False)
        patterns.append(str(unresolved["name"]))
    beginnings = list(dict.fromkeys(patterns))
    if len(set(names)) == 1:
        # Shorter than what it is made of.
        beginnings = names[:1]
    elif len(beginnings) > 1 and "name" not in swept:
        # Presets that bring their own names: all that is swept says which job it is.
        beginnings = [""]
        missing.update(setting for setting in swept if setting != "seed")
    suffix = _make_suffix([setting for setting in swept if setting in missing])
    suggested = [(beginning + suffix).removeprefix("-") for beginning in beginnings]
    own_names = suggested * len(jobs)
    if len(beginnings) > 1:
        own_names = [suggested[beginnings.index(pattern)] for pattern in patterns]
    if not _are_apart(config, jobs, own_names):
        return None
    return ",".join(map(quote_value, suggested))


def _make_suffix(settings: Sequence[str]) -> str:
    """Make the part of a name that says the values of settings, with their keys, and choices without their group."""
    keys = [setting.rpartition(".")[2] for setting in settings]
    suffix = ""
    for setting, key in zip(settings, keys, strict=True):
        label = key if keys.count(key) == 1 else setting
        if _is_group(setting):
            label = ""
        suffix += f"-{label}{_refer_to(setting)}"
    return suffix


def _refer_to(setting: str) -> str:
    """Write what stands for the value of a setting, or for the choice of a group, in another value."""
    return f"${{hydra:runtime.choices.{setting}}}" if _is_group(setting) else f"${{{setting}}}"


def _are_apart(config: DictConfig, jobs: Sequence[Job], names: Sequence[str]) -> bool:
    """Whether jobs with these names have a run directory each, with a name that a file system takes."""
    try:
        run_dirs = _list_run_dirs(config, jobs, names)
    except COMPOSE_ERRORS:
        return False
    longest = max(len(part) for run_dir in run_dirs for part in Path(run_dir).parts)
    return longest <= MAX_NAME_LENGTH and not _group_equal(run_dirs)
