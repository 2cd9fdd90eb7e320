"""From the words of a command line to a config: Hydra composes, and its errors become one sentence.

Nothing here imports torch, and Hydra is imported only where a config is composed.
"""

import argparse
import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llpp.config import extras, trainer_arguments, unreadable_words
from llpp.errors import ConfigError, Interrupted, LlppError, join_lines
from llpp.run_dir import older_runs

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from omegaconf import DictConfig

HYDRA_VERSION_BASE = "1.3"
CONFIG_NAME = "run"
# Of Hydra's flags, those that `run` leaves to it.
HYDRA_FLAGS = (
    "--config-name", "--config-path", "--experimental-rerun", "--hydra-help", "--info", "--run", "--shell-completion",
    "--version", "-cn", "-cp", "-i", "-r", "-sc",
)  # fmt: skip
OWN_FLAGS = ("--help", "--multirun", "--config-dir", "--cfg", "--package", "--resolve")
HELP = """\
llpp run [OPTION=VALUE ...]     train, score, select, round by round; the same command resumes

  -m                 run every combination of OPTION=A,B (a sweep)
  --config-dir DIR   add a folder of your own YAML groups
  --cfg job          print the composed settings without running anything
  --hydra-help       list what else Hydra offers

== Groups: GROUP=CHOICE (* is the default) ==
"""


def conf_dir() -> Path:
    """Return the folder of YAML groups: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise LlppError(f"llpp is installed without its conf folder (not found in {package}); install it again")


def groups() -> dict[str, list[str]]:
    """Return the choices of every group of settings, by the group's name; Hydra's own groups are left out."""
    choices: dict[str, list[str]] = {}
    for path in sorted(conf_dir().glob("*/**/*.yaml")):
        group = path.parent.relative_to(conf_dir()).as_posix()
        if not group.startswith("hydra"):
            choices.setdefault(group, []).append(path.stem)
    return choices


def help_text() -> str:
    """Return the help of `llpp run`: all groups with their choices, and the settings of run.yaml with comments."""
    text = (conf_dir() / "run.yaml").read_text(encoding="utf-8")
    defaults = _read_default_choices(text)
    lines = []
    for group, choices in groups().items():
        marked = [f"{choice}*" if choice == defaults.get(group) else choice for choice in choices]
        lines.append(f"{group}: {', '.join(marked)}")
    listing = "\n".join(lines)
    settings = _drop_blocks(text, ("defaults", "hydra"))
    return f"{HELP}{listing}\n\n== Settings: OPTION=VALUE; nested ones with dots, as in crop.size=64 ==\n{settings}"


def _read_default_choices(text: str) -> dict[str, str]:
    """Read the defaults list of run.yaml: the chosen file by the group's name."""
    import yaml

    defaults: dict[str, str] = {}
    for entry in yaml.safe_load(text)["defaults"]:
        if isinstance(entry, dict):
            defaults.update(entry)
    return defaults


def _drop_blocks(text: str, names: Sequence[str]) -> str:
    """Drop these top-level keys of a YAML file, with all that is nested in them, and what comes before any key."""
    lines = []
    shown = False
    for line in text.splitlines():
        key = re.match(r"(\w+):", line)
        if key is not None:
            shown = key[1] not in names
        if shown:
            lines.append(line)
    return "\n".join(lines).strip() + "\n"


def run(job: "Callable[[DictConfig], None]", arguments: list[str]) -> None:
    """Let Hydra compose the config and call `job` with it, once or for each combination of a sweep.

    Raises:
        ConfigError: settings that cannot be composed.
    """
    flags, overrides = _parse_flags(arguments)
    _check_flags(overrides)
    has_other_flags = any(word.startswith("-") for word in overrides)
    # Hydra reads one override of the search path only, so the folder of --config-dir cannot be a second one
    has_two_paths = flags.config_dir is not None and any(word.startswith("hydra.searchpath") for word in overrides)
    if has_other_flags or has_two_paths:
        _call_hydra_main(job, arguments)
        return
    overrides = [*_add_search_path(flags.config_dir), *overrides]
    # hydra.main would compose everything twice, and report errors in its own words
    with compose_errors_as_config_errors(overrides), _initialise_hydra() as hydra:
        if flags.cfg:
            hydra.show_cfg(CONFIG_NAME, overrides, flags.cfg, flags.package, flags.resolve)
        elif flags.multirun or _is_sweep(hydra, overrides):
            hydra.multirun(CONFIG_NAME, job, [*overrides, "hydra.mode=MULTIRUN"])
        else:
            hydra.run(CONFIG_NAME, job, overrides)


def compose_config(overrides: Sequence[str], config_dir: Path | None = None) -> "DictConfig":
    """Compose the config of a run without Hydra's own part; `config_dir` is a folder of more groups.

    Raises:
        ConfigError: settings that cannot be composed.
    """
    from hydra import compose, initialize_config_dir

    overrides = [*_add_search_path(config_dir), *overrides]
    with (
        compose_errors_as_config_errors(overrides),
        initialize_config_dir(str(conf_dir()), version_base=HYDRA_VERSION_BASE),
    ):
        return compose(CONFIG_NAME, overrides)


def _parse_flags(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into the flags that are handled here, and all other words."""
    parser = argparse.ArgumentParser(prog="llpp run", add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    return parser.parse_known_args(arguments)


def _check_flags(words: Sequence[str]) -> None:
    """Raise ConfigError about a word with dashes that Hydra does not know; it would print pages."""
    for word in words:
        flag = word.partition("=")[0]
        if not flag.startswith("-") or flag in HYDRA_FLAGS:
            continue
        # Settings with dashes before them are far more different, such as --rounds from --run.
        for similar in difflib.get_close_matches(flag, (*OWN_FLAGS, *HYDRA_FLAGS), n=1, cutoff=0.8):
            raise ConfigError(f"{flag} is not known; did you mean {similar}? `llpp run --help` lists the flags")
        problem = unreadable_words.explain_unreadable_word(word, "", words, groups())
        raise ConfigError(f"{problem}; `llpp run --help` lists the flags")


def _call_hydra_main(job: "Callable[[DictConfig], None]", arguments: list[str]) -> None:
    """Hand the command line to Hydra, for flags such as --info."""
    import hydra

    sys.argv = ["llpp run", *arguments]
    hydra.main(version_base=HYDRA_VERSION_BASE, config_path=str(conf_dir()), config_name=CONFIG_NAME)(job)()


def _add_search_path(config_dir: Path | None) -> list[str]:
    """Return the override that makes Hydra look for groups in a folder too; none without a folder."""
    if config_dir is None:
        return []
    if not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder")
    quoted = str(config_dir.absolute()).replace("'", r"\'")
    return [f"hydra.searchpath=['file://{quoted}']"]


@contextmanager
def _initialise_hydra() -> "Iterator[Hydra]":
    """Initialise Hydra with our groups, and withdraw it at the end."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(conf_dir()), job_name="llpp", version_base=HYDRA_VERSION_BASE):
        hydra = GlobalHydra.instance().hydra
        if hydra is None:
            raise RuntimeError("Hydra is not initialised")
        yield hydra


def _is_sweep(hydra: "Hydra", overrides: Sequence[str]) -> bool:
    """Whether settings ask for a sweep without -m: `hydra.mode=MULTIRUN`, or a file of the user that sets it."""
    # Only a complete config shows it, and composing it takes as long again: not unless something of Hydra is set.
    if not any(word.startswith("hydra.") for word in overrides):
        return False
    from hydra.types import RunMode

    return bool(hydra.get_mode(CONFIG_NAME, list(overrides)) == RunMode.MULTIRUN)


@contextmanager
def compose_errors_as_config_errors(words: Sequence[str] = ()) -> Iterator[None]:
    """Turn errors of Hydra, OmegaConf and YAML into a ConfigError of one sentence; `words` are those typed."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        interruption = _find_interruption(error)
        if interruption is not None:
            raise interruption from None
        # Hydra raises a plain ValueError about a group that is null; one from elsewhere is a bug, and needs its
        # traceback
        is_foreign = type(error) is ValueError and not _is_raised_by_hydra(error)
        if is_foreign or os.environ.get("HYDRA_FULL_ERROR"):
            raise
        raise ConfigError(explain_compose_error(error, words)) from error


def _find_interruption(error: BaseException) -> BaseException | None:
    """Return the signal that stopped Hydra or OmegaConf half-way, so that what they put back then failed."""
    context = error.__context__
    while context is not None:
        if isinstance(context, Interrupted | KeyboardInterrupt):
            return context
        context = context.__context__
    return None


def _is_raised_by_hydra(error: Exception) -> bool:
    import hydra

    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return Path(hydra.__file__).parent in Path(innermost.filename).parents


def explain_compose_error(error: Exception, words: Sequence[str] = ()) -> str:
    """Return one sentence about settings that cannot be composed, from these words of a command line."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    if isinstance(error, OverrideParseException):
        reason = join_lines(error.message).partition("; See https")[0]
        return unreadable_words.explain_unreadable_word(error.override, reason, words, groups())
    if isinstance(error, MissingConfigException) and error.options:
        return _explain_unknown_choice(error, str(error.missing_cfg_file), error.options)
    if type(error) is ValueError:
        return f"{join_lines(str(error))}; expected the name of one of its files, as in logger=none"
    several = re.match("Ambiguous value for argument '(.+)'", str(error))
    if several is not None:
        name, _, values = several[1].partition("=")
        return (
            f"{several[1]} has several values, and this is a single run; add -m to run each of them, or write "
            f"{name}=[{values}] for a list"
        )
    sweep = re.match("Sweep parameters '(.+)' requires --multirun", str(error))
    if sweep is not None:
        return f"{sweep[1]} has several values, and this is a single run; add -m to run each of them"
    group = re.search(r"Could not override '([\w/]+)'. No match in the defaults list", str(error))
    if group is not None:
        return _explain_absent_group(error, group[1])
    cause = error.__cause__
    name = re.match("Could not override '(.+)'", str(error))
    if name is not None and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return explain_unknown_setting(name[1], _list_names(cause.parent_node, str(cause.full_key)))
    sentences = []
    for part in (error, cause):
        sentence = join_lines(drop_origin(str(part or "")))
        if sentence:
            sentences.append(sentence)
    return ": ".join(sentences)


def _explain_unknown_choice(error: Exception, path: str, options: Sequence[str]) -> str:
    """Explain that no file of a group has this name; `path` is GROUP/CHOICE."""
    # the file whose defaults list names it; "run" if it is the command line
    parent = re.match("In '(.+?)': ", str(error))
    place = parent[0] if parent is not None and parent[1] != CONFIG_NAME else ""
    group, _, choice = path.rpartition("/")
    uninstalled = extras.explain_missing_launcher(group, choice)
    if uninstalled is not None:
        return uninstalled
    similar = difflib.get_close_matches(choice, options, 1)
    question = f"; did you mean {similar[0]}?" if similar else "."
    return f"{place}Could not find '{path}'{question} Available options in '{group}': {', '.join(options)}"


def _explain_absent_group(error: Exception, group: str) -> str:
    """Explain that a group is chosen which the chosen task does not have."""
    import yaml

    # The file whose defaults list overrides the group, if it is not the command line.
    parent = re.match("In '(.+?)': ", str(error))
    place = f"{parent[1].replace('/', '=')} sets {group}" if parent is not None else f"{group} is set"
    tasks = []
    for path in sorted((conf_dir() / "task").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        brought = [name for entry in content.get("defaults", []) for name in entry]
        if f"/{group}" in brought:
            tasks.append(f"task={path.stem}")
    if not tasks:
        return f"{place}, which is no group of settings; `llpp run --help` lists them"
    return f"{place}, which only {' and '.join(tasks)} has; choose that task, or leave it out"


def explain_unknown_setting(name: str, names: Sequence[str] = ()) -> str:
    """Return one sentence about a setting that does not exist; `names` are settings that do."""
    new_name = older_runs.find_present_name(name)
    if new_name != name and new_name == older_runs.VIEWS:
        return f"{name} is now {new_name}; set {new_name}=flip in place of true, and none in place of false"
    if new_name != name:
        return f"{name} is now {new_name}"
    if name.startswith("trainer."):
        sentence = trainer_arguments.explain_absent_argument(name.removeprefix("trainer."), names)
        if sentence is not None:
            return sentence
    similar = _find_similar_names(name, names)
    question = f"did you mean {' or '.join(similar)}? " if similar else ""
    return f"{name} is not known; {question}`llpp run --help` lists all settings, +{name}=VALUE adds one"


def _find_similar_names(name: str, names: Sequence[str]) -> list[str]:
    """Find settings that may have been meant: the same key in another section, or a similar key in the same one."""
    section, _, key = name.rpartition(".")
    same_key = []
    same_section = {}
    for other in names:
        other_section, _, other_key = other.rpartition(".")
        if other_key == key:
            same_key.append(other)
        if other_section == section:
            same_section[other_key] = other
    if same_key:
        return difflib.get_close_matches(name, same_key, n=3, cutoff=0.0)
    return [same_section[close] for close in difflib.get_close_matches(key, same_section, n=1)]


def _list_names(node: Any, missing: str) -> list[str]:
    """List the settings below the node that lacks the key `missing`, a full name with dots; sections included."""
    from omegaconf import DictConfig, OmegaConf

    # the node may be a value, which has no keys, or null
    tree = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else None
    if not isinstance(tree, dict):
        return []
    section = missing.rpartition(".")[0]
    remaining: list[tuple[str, dict[Any, Any]]] = [(section, tree)]
    names = []
    while remaining:
        prefix, values = remaining.pop()
        for key, value in values.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            names.append(name)
            # below hydra are hundreds of settings, which are not meant
            if isinstance(value, dict) and name != "hydra":
                remaining.append((name, value))
    return names


def drop_origin(text: str) -> str:
    """Drop the last lines of a message of Hydra or OmegaConf, which say where it looked."""
    for beginning in ("Config search path", "provider=", "full_key:"):
        text = text.partition(beginning)[0]
    return text
