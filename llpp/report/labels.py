"""Short names for methods and datasets: what differs between them, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

PLUG_INS = ("backbone", "head", "objective", "pose_loss", "acquisition")  # in the order of a label
USUAL = ("head", "objective", "acquisition")  # the label where no plug-in differs
Flat = Mapping[str, Any]  # "head.width" → 128


def canonical(settings: Flat) -> str:
    """Equal for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def method_labels(names: Sequence[str], settings: Sequence[Flat]) -> list[str]:
    """One label per method: the plug-ins that differ, else the runs' names, else these with what differs."""
    short = _by_plug_in(settings)
    for words in (short, list(names), _with_settings(short, settings)):
        if len(set(words)) == len(words):
            return words
    return [f"{word} ({number})" for number, word in enumerate(_with_settings(short, settings), start=1)]


def dataset_labels(ids: Sequence[str], settings: Sequence[Flat]) -> list[str]:
    """One label per dataset, from an id (`<dataset>/…`); with settings where those do not tell them apart."""
    names = [i.partition("/")[0] for i in ids]
    return names if len(set(names)) == len(names) else _with_settings(names, settings)


def _by_plug_in(settings: Sequence[Flat]) -> list[str]:
    groups = [k.removesuffix("._target_") for k in _differing(settings) if k.endswith("._target_")]
    groups.sort(key=lambda group: PLUG_INS.index(group) if group in PLUG_INS else len(PLUG_INS))
    columns = [_plug_in([str(s.get(f"{group}._target_", "none")) for s in settings]) for group in groups or USUAL]
    return [" + ".join(parts) for parts in zip(*columns, strict=True)]


def _plug_in(paths: Sequence[str]) -> list[str]:
    """The modules' last parts; where different classes share one module, the classes."""
    modules = [module_name(path) for path in paths]
    one_module = len(set(modules)) == 1 and len(set(paths)) > 1
    return [path.rpartition(".")[2] for path in paths] if one_module else modules


def module_name(path: str) -> str:
    """The module that a class is in: `a.b.C` → `b`."""
    return path.split(".")[-2] if "." in path else path


def _with_settings(names: Sequence[str], settings: Sequence[Flat]) -> list[str]:
    keys = _differing(settings)
    told = [k for k in keys if not k.endswith((".digest", "._target_"))] or keys
    return [
        f"{name} ({', '.join(f'{k}={str(s.get(k))[:40]}' for k in told)})"
        for name, s in zip(names, settings, strict=True)
    ]


def _differing(settings: Sequence[Flat]) -> list[str]:
    keys = dict.fromkeys(k for s in settings for k in s)
    return [k for k in keys if len({canonical({k: s.get(k)}) for s in settings}) > 1]
