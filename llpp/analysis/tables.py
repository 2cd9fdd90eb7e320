"""A table that can be written as CSV with full precision and as Markdown for people."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Cell = float | int | str | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns; an unknown cell is None."""

    name: str  # of its file, without .csv
    title: str
    note: str
    columns: Mapping[str, str]  # name → format specification of its numbers, as for format()
    rows: Sequence[Sequence[Cell]]

    def to_csv(self) -> str:
        """Return the header and all rows as CSV; floats have 10 significant digits, an unknown cell is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow(map(_format_csv_cell, row))
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return the title, the table and the note as Markdown."""
        lines = [f"**{self.title}**", "", _format_row(self.columns), _format_row(["--:"] * len(self.columns))]
        for row in self.rows:
            cells = map(_format_markdown_cell, row, self.columns.values())
            lines.append(_format_row(cells))
        return "\n".join([*lines, "", self.note, ""])


def replace_nan(value: float) -> float | None:
    """Return the number, or None for NaN."""
    # NaN is the only number that differs from itself.
    return None if value != value else float(value)


def _format_csv_cell(cell: Cell) -> Cell:
    return f"{cell:.10g}" if isinstance(cell, float) else cell


def _format_markdown_cell(cell: Cell, specification: str) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    return format(cell, specification)


def _format_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
