"""What a run directory from somebody else may make this process do: show its numbers, and build datasets of llpp's.

A config.yaml is written resolved, without aliases. So none of its `${…}` is looked up, in the environment least of
all, and an alias, which a few lines of make gigabytes of, is damage.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from llpp.datasets.base import ImageDataset
from llpp.errors import ConfigError

DATASET_PREFIX = "llpp.datasets."


def check_targets(node: Any, run_dir: Path, trusted: Sequence[str]) -> None:
    """Refuse a part of a run's config that names anything but datasets of llpp's and what `trusted` packages define.

    Nothing is imported from other packages, and what a trusted one has merely imported is not its own.

    Raises:
        ConfigError: such a `_target_`, or an interpolation, which might become one.
    """
    path = run_dir / "config.yaml"
    for key, value in _walk_entries(node):
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


def _walk_entries(node: Any) -> Iterator[tuple[Any, Any]]:
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
    if target.startswith(DATASET_PREFIX):
        # others of llpp's, such as what writes files, are no datasets
        found = _import_target(target)
        return isinstance(found, type) and issubclass(found, ImageDataset) and found.__module__.startswith("llpp.")
    return _is_in_packages(target, trusted) and _is_in_packages(
        str(getattr(_import_target(target), "__module__", "")), trusted
    )


def _is_in_packages(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _import_target(target: str) -> Any:
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
