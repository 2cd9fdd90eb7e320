"""The main tables in the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llpp.report.collect import collect
from llpp.report.differences import build_difference_grids, explain_missing_intervals
from llpp.report.reference import Reference, compare_with_reference
from llpp.report.tables import Entry, Grid, build_main_grids, describe_missing_seeds


def print_tables(folders: Sequence[Path], console: Console | None = None, reference: Reference | None = None) -> None:
    """Print the two main tables of all runs under `folders`, their differences, and a reference beside them."""
    console = console or Console()
    collection = collect(folders)
    for section in collection.sections:
        console.print(Text(section.dataset, style="bold"))
        beside = compare_with_reference(section, reference) if reference else None
        for table in [
            *build_main_grids(section),
            *build_difference_grids(section),
            *(beside.grids if beside else ()),
        ]:
            if table.columns:
                console.print(_build_rich_table(table))
        notes = [
            explain_missing_intervals(section),
            beside.note if beside else None,
            *map(describe_missing_seeds, section.methods),
        ]
        for note in filter(None, notes):
            console.print(Text(note, style="dim"))
    for failure in collection.failures:
        console.print(Text(f"failed: {failure}", style="red"))


def _build_rich_table(table: Grid) -> Table:
    shown = Table(title=Text(table.title), caption=Text(table.note), title_justify="left", caption_justify="left")
    shown.box, shown.padding = SIMPLE_HEAD, (0, 1, 0, 0)
    shown.add_column(table.corner, overflow="fold")
    for column in table.columns:
        shown.add_column(column, justify="right")
    for label, _, cells in table.rows:
        shown.add_row(Text(label), *(_format_cell(cell) for cell in cells))
    return shown


def _format_cell(cell: Entry | None) -> Text:
    if cell is None:
        return Text("–")
    return Text("\n").join([Text(cell.text, style="bold green" if cell.best else ""), *map(_format_note, cell.notes)])


def _format_note(note: str) -> Text:
    return Text(note, style="dim")
