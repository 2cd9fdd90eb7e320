"""Short names for methods and datasets: what differs between them, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

PLUG_INS = ("backbone", "head", "objective", "pose_loss", "acquisition")  # in the order of a label
DEFAULT_GROUPS = ("head", "objective", "acquisition")  # the label where no plug-in differs
FlatSettings = Mapping[str, Any]  # "head.width" → 128


def encode_settings(settings: FlatSettings) -> str:
    """Equal for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def build_method_labels(names: Sequence[str], settings: Sequence[FlatSettings]) -> list[str]:
    """One label per method: the plug-ins that differ, else the runs' names, else these with what differs."""
    short = _label_by_plug_in(settings)
    for words in (short, list(names), _append_settings(short, settings)):
        if len(set(words)) == len(words):
            return words
    return [f"{word} ({number})" for number, word in enumerate(_append_settings(short, settings), start=1)]


def build_dataset_labels(ids: Sequence[str], settings: Sequence[FlatSettings]) -> list[str]:
    """One label per dataset, from an id (`<dataset>/…`); with settings where those do not tell them apart."""
    names = [i.partition("/")[0] for i in ids]
    return names if len(set(names)) == len(names) else _append_settings(names, settings)


def _label_by_plug_in(settings: Sequence[FlatSettings]) -> list[str]:
    groups = [k.removesuffix("._target_") for k in _find_differing_keys(settings) if k.endswith("._target_")]
    groups.sort(key=lambda group: PLUG_INS.index(group) if group in PLUG_INS else len(PLUG_INS))
    columns = [
        _name_plug_ins([str(s.get(f"{group}._target_", "none")) for s in settings])
        for group in groups or DEFAULT_GROUPS
    ]
    return [" + ".join(parts) for parts in zip(*columns, strict=True)]


def _name_plug_ins(paths: Sequence[str]) -> list[str]:
    """The modules' last parts; where different classes share one module, the classes."""
    modules = [get_module_name(path) for path in paths]
    one_module = len(set(modules)) == 1 and len(set(paths)) > 1
    return [path.rpartition(".")[2] for path in paths] if one_module else modules


def get_module_name(path: str) -> str:
    """The module that a class is in: `a.b.C` → `b`."""
    return path.split(".")[-2] if "." in path else path


def _append_settings(names: Sequence[str], settings: Sequence[FlatSettings]) -> list[str]:
    keys = _find_differing_keys(settings)
    told = [k for k in keys if not k.endswith((".digest", "._target_"))] or keys
    return [
        f"{name} ({', '.join(f'{k}={str(s.get(k))[:40]}' for k in told)})"
        for name, s in zip(names, settings, strict=True)
    ]


def _find_differing_keys(settings: Sequence[FlatSettings]) -> list[str]:
    keys = dict.fromkeys(k for s in settings for k in s)
    return [k for k in keys if len({encode_settings({k: s.get(k)}) for s in settings}) > 1]
