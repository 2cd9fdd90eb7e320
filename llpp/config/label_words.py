"""The words of `llpp label`: short names for settings, and those of the first start, which hold for later ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.datasets.project.project_file import read_project
from llpp.errors import ConfigError
from llpp.journal.folder import find_labelling_folder
from llpp.run_dir.round_dir import STATE

# What one types → the setting.
SHORT_NAMES = {
    "joints": "dataset.joints",
    "boxes": "dataset.boxes",
    "labelling": "dataset.labelling",
    "labels": "label.labels",
    "tool": "oracle",
}
# Of the settings behind these names, values are paths and the like, which Hydra reads only in quotes.
PLAIN_VALUES = ("joints", "boxes", "labelling", "labels")
# Settings that are about one start: what to believe of the files that it reads, and whether to wait.
ONCE_PREFIXES = (
    "hydra", "label.accept", "label.changed", "label.empty", "label.enough", "label.labels", "label.least",
    "label.release", "label.retract",
)  # fmt: skip
# Settings that hold until they are given again. All others decide results.
CHANGEABLE_PREFIXES = (
    "audit", "audit_tilt", "budget", "callbacks", "data.eval_batch_size", "data.pin_memory", "data.workers", "label.",
    "launch.", "logger", "pool.", "report.", "scoring.compile_from", "scoring.evaluate_pool", "trainer.accelerator",
    "trainer.benchmark", "trainer.devices", "trainer.enable_model_summary", "trainer.log_every_n_steps",
    "trainer.num_nodes", "trainer.profiler",
)  # fmt: skip
SHOWING_GROUPS = ("callbacks", "logger")  # whose choices have different settings
# Settings of the project: its labels and splits, or the files that people have by now, depend on them. They hold from
# the first start, those of training from the first round.
PROJECT_PREFIXES = ("dataset", "name", "oracle", "paths", "seed")


def translate_words(words: Sequence[str]) -> list[str]:
    """Words of the command line as settings of a run: tool=cvat → oracle=cvat."""
    translated = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in SHORT_NAMES:
            translated.append(word)
            continue
        is_list = name == "joints" and value.startswith("[")
        if name in PLAIN_VALUES and not is_list:
            value = quote_value(value)
        translated.append(f"{SHORT_NAMES[name]}={value}")
    return translated


def quote_value(value: str) -> str:
    """A value that Hydra reads as text, whatever its characters."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'") if value.endswith("\\") else value.replace("'", "\\'")
    return f"'{escaped}'"


@dataclass(frozen=True)
class KeptWords:
    """The settings that hold for all starts of a project."""

    words: Sequence[str]
    run: str = ""  # run directory that was begun with them; empty if there is none


def read_kept_words(root: Path, words: Sequence[str]) -> KeptWords:
    """The settings that earlier starts of a project were given; none if this is the first. StateError."""
    labelling = _read_value(_split_words(words).get("dataset.labelling", "null"))
    folder = find_labelling_folder(root, labelling)
    project = read_project(folder.project_file)
    if project is None:
        return KeptWords(())
    has_begun = bool(project.run) and (Path(project.run) / STATE).exists()
    return KeptWords(project.words, project.run if has_begun else "")


def _read_value(value: str) -> str | None:
    """The text that Hydra reads from a value, with or without quotes; None for null."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # here: it takes time to import
    from hydra.errors import HydraException

    try:
        text = OverridesParser.create().parse_override(f"name={value}").value()
    except HydraException:
        # Composing the config says what is wrong with it.
        return value
    return None if text is None else str(text)


def merge_words(kept: KeptWords, typed: Sequence[str]) -> list[str]:
    """The settings that hold from now on: those of earlier starts, and those that are typed now.

    Raises:
        ConfigError: one that has to stay has another value now, or is new though a round has been trained without.
    """
    known = _split_words(kept.words)
    given = {}
    changed_groups = []
    for name, value in _split_words(typed).items():
        if name.startswith(ONCE_PREFIXES):
            continue
        given[name] = value
        if known.get(name) == value:
            continue
        if _has_to_stay(name, kept):
            raise _make_difference_error(name, known.get(name, "not set"), value, kept.run)
        if name in SHOWING_GROUPS:
            changed_groups.append(f"{name}.")
    # Another choice of a group may not have the settings of the one before, such as logger.wandb.offline.
    merged = {name: value for name, value in known.items() if not name.startswith(tuple(changed_groups))}
    merged |= given
    return [f"{name}={value}" for name, value in merged.items()]


def _has_to_stay(name: str, kept: KeptWords) -> bool:
    if name.startswith(CHANGEABLE_PREFIXES):
        return False
    if name.startswith(PROJECT_PREFIXES) and name in _split_words(kept.words):
        return True
    return kept.run != ""


def _make_difference_error(name: str, before: str, value: str, run: str) -> ConfigError:
    remedy = "begin another project with labelling=FOLDER and name=NAME"
    if not name.startswith(PROJECT_PREFIXES):
        remedy = f"delete {run}, and a new run is trained with the same labels"
    short_names = {setting: short for short, setting in SHORT_NAMES.items()}
    return ConfigError(
        f"{short_names.get(name, name)} was {before} at earlier starts of this project and is {value} now; leave it "
        f"out, or {remedy}"
    )


def list_words_for_once(typed: Sequence[str]) -> list[str]:
    """Those settings that are about this start alone."""
    return [word for word in typed if word.startswith(ONCE_PREFIXES)]


def _split_words(words: Sequence[str]) -> dict[str, str]:
    values = {}
    for word in words:
        name, _, value = word.partition("=")
        values[name] = value
    return values
