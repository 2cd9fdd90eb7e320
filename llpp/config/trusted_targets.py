"""What a run directory from another person may make this process do: show its numbers, and build parts of llpp.

A run writes its config.yaml resolved and without aliases. So no `${…}` in it is ever looked up, least of all in the
environment, and an alias, with which a few lines can become gigabytes, is damage.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from llpp.datasets.base import ImageDataset
from llpp.errors import ConfigError

DATASETS = "llpp.datasets."
PARTS = (DATASETS, "llpp.tasks.", "llpp.backbones.", "llpp.heads.")  # whose classes do nothing but compute
MAX_SHOWN_CHARACTERS = 80  # of a value from a file of another person


def check_targets(node: Any, run_dir: Path, trusted: Sequence[str]) -> None:
    """Refuse part of a run's config that names anything but parts of llpp and what `trusted` packages define.

    Nothing is imported from other packages, and what a trusted package has merely imported is not trusted.

    Raises:
        ConfigError: such a `_target_`, or an interpolation, which might become one.
    """
    path = run_dir / "config.yaml"
    for key, value in _walk_entries(node):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(
                f"{path} has the interpolation {value[:MAX_SHOWN_CHARACTERS]!r}, where a run writes values; write "
                "the value there"
            )
        if key == "_target_" and not _is_trusted(value, trusted):
            shown = str(value)[:MAX_SHOWN_CHARACTERS]
            packages = ", ".join(trusted) or "none"
            raise ConfigError(
                f"{path} names _target_ {shown!r}, which is neither a part of llpp that such a file may name nor in "
                f"trusted_packages ({packages}); if you trust it, name its package in trusted_packages=…"
            )


def _walk_entries(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (key, value) of every leaf and of every `_target_`.

    Keys of mappings are leaves too, whose key is None; the elements of a list have its key.
    """
    remaining: list[tuple[Any, Any]] = [(None, node)]
    while remaining:
        key, value = remaining.pop()
        is_leaf = False
        if isinstance(value, Mapping):
            for name in value:
                remaining.append((None, name))
            remaining.extend(value.items())
        elif isinstance(value, list | tuple | set):
            for element in value:
                remaining.append((key, element))
        else:
            is_leaf = True
        if is_leaf or key == "_target_":
            yield key, value


def _is_trusted(target: object, trusted: Sequence[str]) -> bool:
    if not isinstance(target, str):
        return False
    if not all(part.isidentifier() for part in target.split(".")):
        return False
    if target.startswith(PARTS):
        # other objects in these modules, such as a function that writes files, are not parts of a run
        value = _import_target(target)
        if not isinstance(value, type):
            return False
        if target.startswith(DATASETS):
            return issubclass(value, ImageDataset) and value.__module__.startswith("llpp.")
        return value.__module__.startswith(PARTS)
    # the name first: nothing is imported from a package that is not trusted
    if not _is_in_packages(target, trusted):
        return False
    defining_module = str(getattr(_import_target(target), "__module__", ""))
    return _is_in_packages(defining_module, trusted)


def _is_in_packages(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _import_target(target: str) -> Any:
    """Import the object with this dotted path; None if there is none."""
    first, *attributes = target.split(".")
    try:
        value: Any = importlib.import_module(first)
        for name in attributes:
            # a submodule becomes an attribute of its package when it is imported
            if isinstance(value, ModuleType) and not hasattr(value, name):
                importlib.import_module(f"{value.__name__}.{name}")
            value = getattr(value, name)
    except (ImportError, AttributeError):
        return None
    return value
