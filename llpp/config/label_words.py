"""The words of `llpp label`: short names for settings, and those of the first start, which hold for later ones."""

from collections.abc import Sequence
from pathlib import Path

from llpp.datasets.project.project_file import read_project
from llpp.errors import ConfigError
from llpp.journal.folder import find_labelling_folder

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
# Settings that may be another one at every start; all others decide results, or what was promised.
FREE_PREFIXES = ("label.", "launch.", "logger", "callbacks", "report.", "data.workers", "data.pin_memory", "trainer.devices", "hydra")  # fmt: skip


def translate_words(words: Sequence[str]) -> list[str]:
    """Words of the command line as settings of a run: tool=cvat → oracle=cvat."""
    translated = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in SHORT_NAMES:
            translated.append(word)
            continue
        if name in PLAIN_VALUES:
            value = quote_value(value)
        translated.append(f"{SHORT_NAMES[name]}={value}")
    return translated


def quote_value(value: str) -> str:
    """A value that Hydra reads as text, whatever its characters."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'") if value.endswith("\\") else value.replace("'", "\\'")
    return f"'{escaped}'"


def read_first_words(root: Path, words: Sequence[str]) -> list[str]:
    """The settings that the first start of a project was given; empty if this is the first. StateError."""
    labelling = _split_words(words).get("dataset.labelling")
    folder = find_labelling_folder(root, labelling and labelling.strip("'"))
    project = read_project(folder.project_file)
    return [] if project is None else list(project.words)


def check_same_words(first: Sequence[str], typed: Sequence[str]) -> None:
    """Raise ConfigError if a setting of the first start has another value now, or one is new that has to stay."""
    known = _split_words(first)
    for name, value in _split_words(typed).items():
        if name.startswith(FREE_PREFIXES) or not first:
            continue
        if name in known and known[name] != value:
            raise ConfigError(
                f"{name} was {known[name]} at the first start and is {value} now; leave it out, or start another "
                "project with labelling=FOLDER and name=…"
            )


def merge_words(first: Sequence[str], typed: Sequence[str]) -> list[str]:
    """The settings of the first start, then those that are typed now."""
    repeated = _split_words(typed)
    merged = [word for word in first if word.partition("=")[0] not in repeated]
    return [*merged, *typed]


def _split_words(words: Sequence[str]) -> dict[str, str]:
    values = {}
    for word in words:
        name, _, value = word.partition("=")
        values[name] = value
    return values
