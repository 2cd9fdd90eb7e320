"""Errors that a user can cause and fix. Each says what, got, expected and the remedy in one sentence."""


class LlppError(Exception):
    """A problem with the configuration, the data or the run directory; shown without a traceback."""


class ConfigError(LlppError):
    """Settings that cannot work together or with the chosen dataset."""


class DataError(LlppError):
    """Missing, truncated or mistyped dataset files."""


class StateError(LlppError):
    """A run directory that is damaged, in use, or belongs to another configuration."""


class OccupiedError(StateError, ConfigError):
    """A run directory that belongs to another process or to a run with other settings."""


class RankError(LlppError):
    """Processes of one job that differ, or one of them that ended unexpectedly."""


class TrainingError(LlppError):
    """Training that cannot continue, for example because of a loss that is not finite."""


class ExportError(LlppError):
    """A network that cannot be exported, or whose exported file predicts something else."""


class Interrupted(SystemExit):
    """A signal asked the process to stop; the exit code is 128 + the signal's number."""


def expect(fits: bool, name: str, value: object, expected: str) -> None:
    """Raise ConfigError about the setting `name` unless its value `fits`."""
    if not fits:
        raise ConfigError(f"{name}={value!r} is invalid; expected {expected}")


def join_lines(text: str) -> str:
    """Put a message of several lines on one, with semicolons where a line does not end a sentence."""
    joined = ""
    for line in text.splitlines():
        words = " ".join(line.split())
        if not words:
            continue
        if joined:
            joined += " " if joined.endswith((".", ":", "?", ";")) else "; "
        joined += words
    return joined
