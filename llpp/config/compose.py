"""From the words of a command line to a config, or to one sentence about what is wrong with them; without torch."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llpp import setting_rules
from llpp.errors import ConfigError, LlppError

if TYPE_CHECKING:
    from omegaconf import DictConfig

UNREADABLE = "{!r} cannot be read; expected OPTION=VALUE, as in dataset=lspet"
CONSTANTS = {"true": True, "false": False, "null": None}
HELP = """\
llpp run [OPTION=VALUE ...]     --cfg job shows what comes of them, --config-dir DIR adds groups of your own,
                                -m makes a sweep of OPTION=A,B, --hydra-help tells what else Hydra knows

== Groups: GROUP=CHOICE (* unless something else is said) ==
"""


def conf_dir() -> Path:
    """The folder of YAML groups: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise LlppError(f"llpp is installed without its conf folder (looked in {package}); install it again")


def groups() -> dict[str, list[str]]:
    """The names of all groups of settings, and their choices."""
    found: dict[str, list[str]] = {}
    for path in sorted(conf_dir().glob("*/**/*.yaml")):
        found.setdefault(path.parent.relative_to(conf_dir()).as_posix(), []).append(path.stem)
    return {group: choices for group, choices in found.items() if not group.startswith("hydra")}


def help_text() -> str:
    """All groups with their choices, and the settings beside them with their comments."""
    text = (conf_dir() / "run.yaml").read_text(encoding="utf-8")
    usual = set(re.findall(r"^  - (\w+: \w+)", text, re.MULTILINE))
    lines = [f"{g}: {', '.join(c + '*' * (f'{g}: {c}' in usual) for c in found)}" for g, found in groups().items()]
    own = text[text.index("\nname: ") : text.index("\nhydra:")]
    return HELP + "\n".join(lines) + f"\n\n== Settings: OPTION=VALUE, with dots for those further in ==\n{own}"


def check_words(words: Sequence[str]) -> None:
    """Raise ConfigError about a word of the command line that is wrong whatever the others are.

    It takes milliseconds, and importing Hydra a fifth of a second. Whatever is not plain is left to Hydra.
    """
    if any(word.startswith(("-", "hydra.searchpath")) and word not in ("-m", "--multirun") for word in words):
        return  # --config-dir brings groups of its own
    text, known = (conf_dir() / "run.yaml").read_text(encoding="utf-8"), groups()
    names = {*re.findall(r"^(\w+):", text, re.MULTILINE), *(group.split("/")[0] for group in known)}
    for word in words:
        if "=" not in word and not word.startswith(("-", "~")):
            raise ConfigError(UNREADABLE.format(word))
        plain = re.match(r"([a-z_]\w*(?:[./]\w+)*)=", word)
        if plain is None or plain[1].startswith("hydra"):
            continue
        name, values = plain[1], word[plain.end() :].split(",")
        if re.split(r"[./]", name)[0] not in names:
            raise _unknown(name, difflib.get_close_matches(name, sorted(names), 1), word)
        _check_known(name, word)
        for value in values if all(re.fullmatch(r"[\w.-]*", value) for value in values) else ():
            if name in known and value not in (*known[name], "null"):
                raise ConfigError(f"{name}={value} is not known; use {', '.join(known[name])}")
            if len(values) == 1:  # one bad value of a sweep must not stop its other jobs
                setting_rules.check_setting(name, _value(value))


def _check_known(name: str, word: str) -> None:
    """Raise ConfigError if no group that could be chosen has a setting of this name."""
    first, *parts = name.split(".")
    nodes = _files_about(first) if parts else ()
    for depth, part in enumerate(parts):
        if not all(isinstance(node, dict) for node in nodes):
            return  # null, say: what may be put there is for Hydra to tell
        further = [node[part] for node in nodes if part in node]
        if not further:
            before = ".".join([first, *parts[:depth]])
            names = sorted({key for node in nodes for key in node} - {"defaults"})
            near = [f"{before}.{key}" for key in difflib.get_close_matches(part, names, 1)]
            raise _unknown(f"{before}.{part}", near, word)
        nodes = tuple(further)


@cache
def _files_about(name: str) -> tuple[Any, ...]:
    """What each file of settings says below this name, if anything."""
    import yaml

    loader, found = getattr(yaml, "CSafeLoader", yaml.SafeLoader), []
    for group, text in _files():
        if group == name:
            found.append(yaml.load(text, loader) or {})  # by a safe loader
        elif not group and f"\n{name}:" in text:
            found.append(yaml.load(text, loader)[name])
    return tuple(found)


@cache
def _files() -> tuple[tuple[str, str], ...]:
    """Group and text of all files of settings; no group where they speak of the whole config."""
    found = []
    for path in conf_dir().rglob("*.yaml"):
        text, group = path.read_text(encoding="utf-8"), path.parent.relative_to(conf_dir()).as_posix()
        found.append(("" if group == "." or "# @package _global_" in text else group, text))
    return tuple(found)


def _unknown(name: str, near: Sequence[str], word: str) -> ConfigError:
    meant = f"did you mean {near[0]}? " if near else ""
    return ConfigError(f"{name} is not known; {meant}`llpp run --help` lists all, and +{word} would add it")


def _value(text: str) -> object:
    """A word's value as Hydra would take it."""
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def run(job: "Callable[[DictConfig], None]", arguments: list[str]) -> None:
    """Let Hydra compose the config and call `job` with it, once or for each combination of a sweep."""
    import hydra

    # Hydra's own command line composes everything twice, to learn whether it is a sweep
    if any(argument.startswith("-") or "hydra" in argument for argument in arguments):
        sys.argv = ["llpp run", *arguments]
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="run")(job)()
        return
    from hydra.core.global_hydra import GlobalHydra

    with in_one_sentence(), hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        GlobalHydra.instance().hydra.run("run", job, arguments)  # type: ignore[union-attr]  # just initialised


def composed(overrides: Sequence[str], own: Path | None) -> "DictConfig":
    """The config of a run with these overrides, without Hydra's own part; `own` is a folder of more groups."""
    from hydra import compose, initialize_config_dir

    if own and not own.is_dir():
        raise ConfigError(f"--config-dir {own} is not a folder")
    search = [f"hydra.searchpath=['file://{own.absolute()}']"] if own else []
    with in_one_sentence(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("run", [*search, *overrides])


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """Turn what Hydra says about an impossible config into a ConfigError."""
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        if isinstance(error, OverrideParseException):
            raise ConfigError(UNREADABLE.format(error.override)) from error
        told = " ".join(" ".join(str(part).split()) for part in (error, error.__cause__) if part)
        for place in ("Config search path", "provider=", "full_key:"):
            told = told.partition(place)[0].strip()
        raise ConfigError(told) from error
