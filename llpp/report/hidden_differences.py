"""Differences in training that the labels of methods do not show: one had fewer epochs than the others, say."""

from collections.abc import Mapping, Sequence
from typing import Any

from llpp.report.collect import Section
from llpp.report.labels import MAX_VALUE_LENGTH, TARGET, find_differing_keys, name_plug_ins

# These decide which images are labelled, not how a model is trained or tested.
NOT_OF_TRAINING = (
    "acquisition", "audit", "audit_tilt", "budget", "initial", "pool", "ranker", "scoring.subset", "seed",
)  # fmt: skip
EPOCHS = "trainer.max_epochs"
VALIDATION = "trainer.check_val_every_n_epoch"
NAMED_FIRST = ("trainer.", "optimizer.")
# Recorded only where they are set: otherwise the defaults of Lightning, of torch or of llpp hold. Other settings that
# a run lacks are younger than the run, and unknown.
RECORDED_WHERE_SET = ("auxiliary.", "callbacks.", "crop.cache", "optimizer.", "trainer.")
MAX_SETTINGS = 4  # that the sentence names
MAX_VALUES = 4  # of one setting
MAX_LABELS = 3  # of methods with the same value
LabelledSettings = Mapping[str, Mapping[str, Any]]  # label of a method → its flat settings


def list_hidden_differences(section: Section) -> list[str]:
    """Return a sentence about the settings of training that differ without being named in the labels, if any.

    Settings of plug-ins are compared where the plug-ins are the same.
    """
    # The labels are made of the settings of all methods, those without a round included.
    labelled = {method.label: method.runs[0].state.result_settings for method in section.methods}
    settings = {method.label: labelled[method.label] for method in section.started_methods}
    keys = []
    for key in find_differing_keys(list(settings.values())):
        if _is_of_training(key) and _differs_in_a_plug_in(key, settings) and not _is_shown(key, labelled):
            keys.append(key)
    if not keys:
        return []
    if EPOCHS in keys and VALIDATION in keys and _follows_from_epochs(settings):
        keys.remove(VALIDATION)
    keys.sort(key=_comes_later)
    parts = [_describe_values(key, settings) for key in keys[:MAX_SETTINGS]]
    if len(keys) > MAX_SETTINGS:
        parts.append(f"and {len(keys) - MAX_SETTINGS} more, in the full settings of report.html")
    return [
        "Not all of these models were trained and tested with the same settings: "
        f"{'; '.join(parts)}. Differences between the methods may come from that."
    ]


def _follows_from_epochs(settings: LabelledSettings) -> bool:
    """Whether methods with as many epochs are validated as often."""
    validations_by_epochs: dict[str | None, set[str | None]] = {}
    for flat in settings.values():
        epochs = _read_value(EPOCHS, flat)
        validations_by_epochs.setdefault(epochs, set()).add(_read_value(VALIDATION, flat))
    return all(len(validations) == 1 for validations in validations_by_epochs.values())


def _comes_later(key: str) -> bool:
    return not key.startswith(NAMED_FIRST)


def _is_of_training(key: str) -> bool:
    return not any(key == name or key.startswith(f"{name}.") for name in NOT_OF_TRAINING)


def _differs_in_a_plug_in(key: str, settings: LabelledSettings) -> bool:
    """Whether methods whose plug-in with this setting is the same have different values of it."""
    values_by_plug_in: dict[str, set[str]] = {}
    for flat in settings.values():
        value = _read_value(key, flat)
        if value is not None:
            values_by_plug_in.setdefault(_find_plug_in(key, flat), set()).add(value)
    return any(len(values) > 1 for values in values_by_plug_in.values())


def _read_value(key: str, flat: Mapping[str, Any]) -> str | None:
    """Return the value of a setting as text; None where it is unknown."""
    if key in flat:
        value = flat[key]
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 0 and 0.0 train alike
        return str(value)
    is_unset = key.startswith(RECORDED_WHERE_SET)
    if key.endswith(TARGET) and (is_unset or key.removesuffix(TARGET) in flat):
        return "none"  # as labels say; scheduler=null is recorded without a class
    return "not set" if is_unset else None


def _find_plug_in(key: str, flat: Mapping[str, Any]) -> str:
    """Return the class that this is a setting of; nothing where it is a class itself, or of no class."""
    section = key.removesuffix(TARGET)
    while "." in section:
        section = section.rpartition(".")[0]
        if f"{section}{TARGET}" in flat:
            return str(flat[f"{section}{TARGET}"])
    return ""


def _is_shown(key: str, settings: LabelledSettings) -> bool:
    """Whether every label names the setting, or the plug-in."""
    if not key.endswith(TARGET):
        return all(f"{key}=" in label for label in settings)
    names = name_plug_ins([str(_read_value(key, flat)) for flat in settings.values()])
    return all(name in label for name, label in zip(names, settings, strict=True))


def _describe_values(key: str, settings: LabelledSettings) -> str:
    """Return `trainer.max_epochs is 20 (random, core_set) or 3 (predicted_loss)`."""
    labels_by_value: dict[str, list[str]] = {}
    for label, flat in settings.items():
        value = _read_value(key, flat)
        if value is not None:
            labels_by_value.setdefault(value, []).append(label)
    name = key.removesuffix(TARGET)
    if len(labels_by_value) > MAX_VALUES:
        return f"{name} has {len(labels_by_value)} values"
    shown = list(labels_by_value)
    if key.endswith(TARGET):
        shown = name_plug_ins(shown)
    words = []
    for value, labels in zip(shown, labels_by_value.values(), strict=True):
        words.append(f"{_shorten(value)} ({_list_labels(labels)})")
    return f"{name} is {' or '.join(words)}"


def _shorten(value: str) -> str:
    if len(value) <= MAX_VALUE_LENGTH:
        return value
    return f"{value[:MAX_VALUE_LENGTH]}…"


def _list_labels(labels: Sequence[str]) -> str:
    if len(labels) > MAX_LABELS:
        return f"{len(labels)} methods"
    return ", ".join(labels)
