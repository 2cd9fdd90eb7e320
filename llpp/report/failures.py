"""The jobs of a sweep that failed, as `failed.json` in their folders describes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.files import read_text

FAILURE_FILE = "failed.json"
MAX_BYTES = 1 << 20  # of that file
MAX_SHOWN = 3  # failures named in an error message


@dataclass(frozen=True)
class Failure:
    """Why a job of a sweep ended early."""

    folder: Path
    reason: str  # one sentence
    when: str  # ISO time, or empty

    def __str__(self) -> str:
        return f"{self.folder}: {self.reason}"


def read_failure(folder: Path) -> Failure | None:
    """Read why the job in `folder` failed; None if the folder has no such file."""
    try:
        note = json.loads(read_text(folder / FAILURE_FILE, MAX_BYTES))
        # The reason is shown in tables and error messages, so it must be one line.
        reason = " ".join(str(note["reason"]).split())
        when = str(note.get("when", ""))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # A damaged note must not stop the report on the runs that succeeded.
        return Failure(folder, f"{FAILURE_FILE} cannot be read", "")
    return Failure(folder, reason, when)


def summarise_failures(failures: Sequence[Failure]) -> str:
    """Return the first few failures in one line, and the number of the others."""
    summary = "; ".join(map(str, failures[:MAX_SHOWN]))
    if len(failures) > MAX_SHOWN:
        summary += f"; and {len(failures) - MAX_SHOWN} more"
    return summary
