"""A table as CSV in full precision and as Markdown for people."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Cell = float | int | str | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns; an unknown cell is None."""

    name: str  # of its file, without .csv
    title: str
    note: str
    columns: Mapping[str, str]  # name → how a number is shown, as in format()
    rows: Sequence[Sequence[Cell]]

    def to_csv(self) -> str:
        """All rows, numbers to 10 digits; an unknown cell is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([f"{c:.10g}" if isinstance(c, float) else c for c in row] for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Title, table and note."""
        head = [_format_row(self.columns), _format_row(["--:"] * len(self.columns))]
        body = [_format_row(map(_format_cell, row, self.columns.values())) for row in self.rows]
        return "\n".join([f"**{self.title}**", "", *head, *body, "", self.note, ""])


def replace_nan(value: float) -> float | None:
    """A number, or None for NaN."""
    return None if value != value else float(value)


def _format_cell(cell: Cell, form: str) -> str:
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else format(cell, form)


def _format_row(cells: "Mapping[str, str] | Sequence[str] | map[str]") -> str:
    return f"| {' | '.join(cells)} |"
