"""Errors that a user can cause and mend. Each says what, got, expected and the remedy in one sentence."""


class LlppError(Exception):
    """A problem with the configuration, the data or the run directory; shown without a traceback."""


class ConfigError(LlppError):
    """Settings that cannot work together or with the chosen dataset."""


class DataError(LlppError):
    """Missing, truncated or mistyped dataset files."""


class StateError(LlppError):
    """A run directory that is damaged, in use, or belongs to another configuration."""


class OccupiedError(StateError, ConfigError):
    """A run directory that another process, or a run with other settings, has."""


class RankError(LlppError):
    """Processes of one job that differ, or one of them that ended by itself."""


class TrainingError(LlppError):
    """Training that cannot go on, such as a loss that is not finite."""


class Interrupted(SystemExit):
    """Somebody asked the process to stop; its code is 128 + the signal's number."""


def expect(fits: bool, name: str, value: object, expected: str) -> None:
    """Raise ConfigError about a setting whose value does not fit."""
    if not fits:
        raise ConfigError(f"{name}={value!r} is invalid; expected {expected}")
