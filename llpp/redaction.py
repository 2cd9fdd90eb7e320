"""Removing secrets from everything that a run writes to files."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
SECRET_WORDS = r"(?:token|password|passwd|pwd|passphrase|secret|credentials?|(?:api|access|private|secret)[_-]?key)"
SECRET_KEY = re.compile(rf"(^|[_.-]){SECRET_WORDS}$", re.I)
# api_key=abc, {api_key: abc} and {'api_key': "a, b"} within a text
SECRET_ASSIGNMENT = re.compile(
    rf"((?:^|[^A-Za-z0-9]){SECRET_WORDS}['\"]?(?:\s*=\s*|\s*:\s+|:))('[^']*'|\"[^\"]*\"|[^\s,{{}}\[\]'\"]+)", re.I
)
# https://user:password@host, and https:/user:password@host, which it becomes as a path
URL_LOGIN = re.compile(r"(:/{1,2})[^\s/@]+@")


def redact(tree: Any) -> Any:
    """Copy nested mappings and lists with `***` for every value whose key names a secret.

    Texts lose the logins of their URLs and the values that they assign to such keys.
    """
    if isinstance(tree, Mapping):
        result = {}
        for key, value in tree.items():
            if SECRET_KEY.search(str(key)):
                result[key] = _mask_values(value)
            else:
                result[key] = redact(value)
        return result
    if isinstance(tree, list | tuple):
        return [redact(value) for value in tree]
    if isinstance(tree, str):
        return redact_text(tree)
    return tree


def redact_text(text: str) -> str:
    """Return a sentence or an override without the secrets in it."""
    text = URL_LOGIN.sub(rf"\1{MASK}@", text)
    return SECRET_ASSIGNMENT.sub(rf"\1{MASK}", text)


def redact_arguments(arguments: list[str]) -> list[str]:
    """Return command-line overrides such as `dataset.token=abc` without the values of secrets."""
    result = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if SECRET_KEY.search(name) and value:
            result.append(f"{name}={MASK}")
        else:
            result.append(redact_text(argument))
    return result


def _mask_values(tree: Any) -> Any:
    """Replace all values of nested mappings and lists, except None and booleans, which reveal nothing."""
    if isinstance(tree, Mapping):
        return {key: _mask_values(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_mask_values(value) for value in tree]
    if tree is None or isinstance(tree, bool):
        return tree
    return MASK
