"""Short names for methods and datasets, made of the settings in which they differ."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

PLUG_INS = ("backbone", "head", "objective", "pose_loss", "acquisition")  # in the order of a label
DEFAULT_GROUPS = ("head", "objective", "acquisition")  # the label where no plug-in differs
TARGET = "._target_"  # ends the key that holds the class of a plug-in
MAX_VALUE_LENGTH = 40  # characters of a setting's value in a label
FlatSettings = Mapping[str, Any]  # "head.width" → 128


def encode_settings(settings: FlatSettings) -> str:
    """Return settings as text that is equal for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def build_method_labels(names: Sequence[str], settings: Sequence[FlatSettings]) -> list[str]:
    """Return one label per method.

    The first of these that is unique: the plug-ins in which the methods differ, the names of their runs, the plug-ins
    with all settings that differ. If none is, the last one is numbered.
    """
    by_plug_in = _label_by_plug_in(settings)
    by_settings = _append_settings(by_plug_in, settings)
    for labels in (by_plug_in, list(names), by_settings):
        if _are_unique(labels):
            return labels
    return [f"{label} ({number})" for number, label in enumerate(by_settings, start=1)]


def build_dataset_labels(ids: Sequence[str], settings: Sequence[FlatSettings]) -> list[str]:
    """Return one label per dataset: its name, from an id (`<name>/…`), with its settings where names are equal."""
    names = [record_id.partition("/")[0] for record_id in ids]
    if _are_unique(names):
        return names
    return _append_settings(names, settings)


def get_module_name(path: str) -> str:
    """Return the module that a class is in: `a.b.C` → `b`."""
    if "." not in path:
        return path
    return path.split(".")[-2]


def _are_unique(labels: Sequence[str]) -> bool:
    return len(set(labels)) == len(labels)


def _label_by_plug_in(settings: Sequence[FlatSettings]) -> list[str]:
    """Join the names of the plug-ins that differ: `gap_fc + random`."""
    groups = []
    for key in find_differing_keys(settings):
        if key.endswith(TARGET):
            groups.append(key.removesuffix(TARGET))
    groups.sort(key=_get_label_position)
    columns = []
    for group in groups or DEFAULT_GROUPS:
        paths = [str(flat.get(f"{group}{TARGET}", "none")) for flat in settings]
        columns.append(name_plug_ins(paths))
    return list(map(" + ".join, zip(*columns, strict=True)))


def _get_label_position(group: str) -> int:
    """Return the place of a group in a label; groups of the user's own come last."""
    if group in PLUG_INS:
        return PLUG_INS.index(group)
    return len(PLUG_INS)


def name_plug_ins(paths: Sequence[str]) -> list[str]:
    """Return the name of each class's module; where there are several classes of a module, those of the classes."""
    classes_by_module: dict[str, set[str]] = {}
    for path in paths:
        classes_by_module.setdefault(get_module_name(path), set()).add(path)
    names = []
    for path in paths:
        module = get_module_name(path)
        is_alone = len(classes_by_module[module]) == 1
        names.append(module if is_alone else path.rpartition(".")[2])
    return names


def _append_settings(names: Sequence[str], settings: Sequence[FlatSettings]) -> list[str]:
    """Add the settings that differ: `lsp (dataset.box=joints)`."""
    differing = find_differing_keys(settings)
    # Digests mean nothing to a reader, and the plug-ins are usually named already.
    readable = [key for key in differing if not key.endswith((".digest", TARGET))]
    labels = []
    for name, flat in zip(names, settings, strict=True):
        words = []
        for key in readable or differing:
            value = str(flat.get(key))
            words.append(f"{key}={value[:MAX_VALUE_LENGTH]}")
        labels.append(f"{name} ({', '.join(words)})")
    return labels


def find_differing_keys(settings: Sequence[FlatSettings]) -> list[str]:
    """Return the keys whose values are not the same everywhere, in order of appearance."""
    keys: dict[str, None] = {}
    for flat in settings:
        keys |= dict.fromkeys(flat)
    differing = []
    for key in keys:
        values = {encode_settings({key: flat.get(key)}) for flat in settings}
        if len(values) > 1:
            differing.append(key)
    return differing
