"""Jobs of a sweep that failed: what their `failed.json` says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.files import read_text

FAILURE_FILE = "failed.json"
MAX_BYTES = 1 << 20
MAX_SHOWN = 3  # in an error


@dataclass(frozen=True)
class Failure:
    """Why a job of a sweep ended early."""

    folder: Path
    reason: str  # one sentence
    when: str  # ISO time, or empty

    def __str__(self) -> str:
        return f"{self.folder}: {self.reason}"


def read_failure(folder: Path) -> Failure | None:
    """What `folder` tells of its failure; None if it tells of none."""
    try:
        told = json.loads(read_text(folder / FAILURE_FILE, MAX_BYTES))
        return Failure(folder, " ".join(str(told["reason"]).split()), str(told.get("when", "")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # a note about a failure must not be another
        return Failure(folder, f"{FAILURE_FILE} cannot be read", "")


def summarise_failures(failures: Sequence[Failure]) -> str:
    """The first few in one line."""
    more = f"; and {len(failures) - MAX_SHOWN} more" if len(failures) > MAX_SHOWN else ""
    return "; ".join(map(str, failures[:MAX_SHOWN])) + more
