"""What a run directory from somebody else may make this process do: show its numbers, and build datasets of llpp's.

A config.yaml is written resolved, without aliases. So none of its `${…}` is looked up, in the environment least of
all, and an alias, which a few lines of make gigabytes of, is damage.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from llpp.datasets.base import PoseDataset
from llpp.errors import ConfigError, StateError
from llpp.files import read_text

MOST_BYTES = 1 << 18  # of a config.yaml; ours have some 6 kB
OWN = "llpp.datasets."
SHOWN = ("name", "seed", "rounds", "initial", "budget", "init", "weights")  # as they are
GROUPS = ("pck", "crop")  # of which a part is


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain values only, each written out."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        return super().compose_node(parent, index)


def read_config(run_dir: Path) -> tuple[dict[str, Any], str]:
    """A run's config.yaml as plain values, with interpolations as they stand there, and as text.

    Raises:
        StateError: no such file, one that is too large or damaged, or one that no run has written.
    """
    try:
        text = read_text(run_dir / "config.yaml", MOST_BYTES)
        config = yaml.load(text, _Loader)  # a SafeLoader
    except Exception as error:  # the parser's tags raise whatever a wrong value makes of them
        raise _unreadable(run_dir) from error
    if not isinstance(config, dict):
        raise _unreadable(run_dir)
    plain = all(_is_plain(config.get(name)) for name in SHOWN)
    if not plain or not all(isinstance(config.get(name), dict | None) for name in GROUPS):
        raise _unreadable(run_dir)
    return {str(k): v for k, v in config.items()}, text


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 1 << 63)


def _unreadable(folder: Path) -> StateError:
    return StateError(
        f"{folder} has no readable config.yaml; start its `llpp run` command again, which writes it anew"
    )


def check_targets(node: Any, run_dir: Path, trusted: Sequence[str]) -> None:
    """Refuse a part of a run's config that names anything but datasets of llpp's and what `trusted` packages define.

    Nothing is imported from other packages, and what a trusted one has merely imported is not its own.

    Raises:
        ConfigError: such a `_target_`, or an interpolation, which might become one.
    """
    path = run_dir / "config.yaml"
    for key, value in _entries(node):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(
                f"{path} has the interpolation {value[:80]!r}, where a run writes values; write the value there"
            )
        if key != "_target_":
            continue
        if not isinstance(value, str) or not _is_trusted(value, trusted):
            raise ConfigError(
                f"{path} names _target_ {str(value)[:80]!r}, which is neither one of llpp's datasets nor in "
                f"trusted_packages ({', '.join(trusted) or 'none'}); if you know it, name its package in "
                "trusted_packages=…"
            )


def _entries(node: Any) -> Iterator[tuple[Any, Any]]:
    """(key, value) of every leaf, keys as leaves too, and of every `_target_`; a list's elements have its key."""
    waiting: list[tuple[Any, Any]] = [(None, node)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(None, name) for name in value]
            waiting += value.items()
        elif isinstance(value, list | tuple | set):
            waiting += [(key, element) for element in value]
        if key == "_target_" or not isinstance(value, Mapping | list | tuple | set):
            yield key, value


def _is_trusted(target: str, trusted: Sequence[str]) -> bool:
    if not all(part.isidentifier() for part in target.split(".")):
        return False
    if target.startswith(OWN):
        # others of llpp's, such as what writes files, are no datasets
        found = _found(target)
        return isinstance(found, type) and issubclass(found, PoseDataset) and found.__module__.startswith("llpp.")
    return _is_in(target, trusted) and _is_in(str(getattr(_found(target), "__module__", "")), trusted)


def _is_in(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _found(target: str) -> Any:
    """What a path names, None if nothing."""
    first, *rest = target.split(".")
    try:
        found: Any = importlib.import_module(first)
        for part in rest:
            if isinstance(found, ModuleType) and not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found
