"""Secrets stay out of everything that a run writes down."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
SECRET = re.compile(
    r"(^|[_.-])(token|password|passwd|secret|credentials?|(api|access|private|secret)[_-]?key)$", re.I
)


def redact(tree: Any) -> Any:
    """A copy of nested mappings and lists with `***` for every value whose key names a secret."""
    if isinstance(tree, Mapping):
        return {k: _hide(v) if SECRET.search(str(k)) else redact(v) for k, v in tree.items()}
    return [redact(value) for value in tree] if isinstance(tree, list | tuple) else tree


def redact_arguments(arguments: list[str]) -> list[str]:
    """Command-line overrides such as `dataset.token=abc` without the values of secrets."""
    pairs = [argument.partition("=") for argument in arguments]
    return [f"{name}={HIDDEN}" if SECRET.search(name) and value else name + sep + value for name, sep, value in pairs]


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _hide(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(v) for v in value]
    return value if value is None or isinstance(value, bool) else HIDDEN
