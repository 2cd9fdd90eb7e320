"""Options in the spelling of `llpp run`, for the other commands: `risk=0.1` for `--risk=0.1`."""

from collections.abc import Collection


def accept_run_spelling(argument: str, options: Collection[str]) -> str:
    """Turn `NAME=VALUE` into a flag if the name is one of `options`; anything else stays as it is."""
    name, separator, value = argument.partition("=")
    if separator and name in options:
        return f"--{name.replace('_', '-')}={value}"
    return argument
