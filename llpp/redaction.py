"""Secrets stay out of everything that a run writes down."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
SECRET_WORDS = r"(?:token|password|passwd|pwd|passphrase|secret|credentials?|(?:api|access|private|secret)[_-]?key)"
SECRET_KEY = re.compile(rf"(^|[_.-]){SECRET_WORDS}$", re.I)
# api_key=abc, {api_key: abc} and {'api_key': "a, b"} inside of a text
SECRET_ASSIGNMENT = re.compile(
    rf"((?:^|[^A-Za-z0-9]){SECRET_WORDS}['\"]?(?:\s*=\s*|\s*:\s+|:))('[^']*'|\"[^\"]*\"|[^\s,{{}}\[\]'\"]+)", re.I
)
URL_LOGIN = re.compile(r"(:/{1,2})[^\s/@]+@")  # https://user:word@host, also where a path was made of it


def redact(tree: Any) -> Any:
    """A copy of nested mappings and lists with `***` for every value whose key names a secret.

    Texts lose the logins of their URLs, and what they assign to such a key.
    """
    if isinstance(tree, Mapping):
        return {k: _hide(v) if SECRET_KEY.search(str(k)) else redact(v) for k, v in tree.items()}
    if isinstance(tree, str):
        return redact_text(tree)
    return [redact(value) for value in tree] if isinstance(tree, list | tuple) else tree


def redact_text(text: str) -> str:
    """A sentence or an override without the secrets in it."""
    return SECRET_ASSIGNMENT.sub(rf"\1{MASK}", URL_LOGIN.sub(rf"\1{MASK}@", text))


def redact_arguments(arguments: list[str]) -> list[str]:
    """Command-line overrides such as `dataset.token=abc` without the values of secrets."""
    pairs = [argument.partition("=") for argument in arguments]
    return [
        f"{name}={MASK}" if SECRET_KEY.search(name) and value else redact_text(name + sep + value)
        for name, sep, value in pairs
    ]


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _hide(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(v) for v in value]
    return value if value is None or isinstance(value, bool) else MASK
