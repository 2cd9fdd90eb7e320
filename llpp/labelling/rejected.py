"""rejected.csv: what the last import could not use, and why."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.files import replace_bytes

COLUMNS = ("file", "entry", "reason", "nearest known name")


@dataclass(frozen=True)
class RejectedRow:
    """Something that an import could not use."""

    file: str  # name of the labelling tool's file
    entry: str  # what it is called there; empty: all of the file
    reason: str  # a sentence without a full stop
    nearest: str = ""  # what the project has that is called most similarly


def write_rejected(rows: Sequence[RejectedRow], path: Path) -> None:
    """Replace the table; without rows it has its header only."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([row.file, row.entry, row.reason, row.nearest])
    # A file's name may hold bytes that are no text.
    replace_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))
