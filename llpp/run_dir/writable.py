"""Whether a run directory can be made and written to, before anything is spent on the run."""

import os
from pathlib import Path

from llpp.errors import StateError


def check_writable(run_dir: Path) -> None:
    """Raise StateError if a folder, which need not exist, is certain to refuse files; nothing is created."""
    nearest = run_dir.absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
    except PermissionError as error:
        raise StateError(_describe(run_dir, f"{nearest.parent} may not be looked into")) from error
    except OSError:
        # Such as a name that is too long: making the folder says more.
        return
    if not nearest.is_dir():
        raise StateError(_describe(run_dir, f"{nearest} is a file"))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StateError(_describe(run_dir, f"{nearest} is read-only, or not yours to write to"))


def _describe(run_dir: Path, reason: str) -> str:
    return f"the run directory {run_dir} cannot be written: {reason}; choose another paths.runs=…"
