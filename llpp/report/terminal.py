"""The main tables in the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llpp.console import TableConsole
from llpp.report.collect import Section, collect
from llpp.report.differences import build_difference_grids, explain_missing_intervals
from llpp.report.hidden_differences import list_hidden_differences
from llpp.report.reference import Comparison, Reference, compare_with_reference
from llpp.report.summary import list_learning_warnings
from llpp.report.tables import Entry, Grid, build_main_grids, describe_missing_seeds


def print_tables(folders: Sequence[Path], console: Console | None = None, reference: Reference | None = None) -> None:
    """Print the two main tables of all runs under `folders`, their differences, and a reference next to them."""
    console = console or TableConsole()
    collection = collect(folders)
    for section in collection.sections:
        comparison = None
        if reference:
            comparison = compare_with_reference(section, reference)
        _print_section(console, section, comparison)
    for failure in collection.failures:
        console.print(Text(f"failed: {failure}", style="red"))


def _print_section(console: Console, section: Section, comparison: Comparison | None) -> None:
    grids = [*build_main_grids(section), *build_difference_grids(section)]
    notes = [explain_missing_intervals(section)]
    if comparison:
        grids += comparison.grids
        notes.append(comparison.note)
    notes += map(describe_missing_seeds, section.methods)

    console.print(Text(section.dataset, style="bold"))
    for grid in grids:
        if grid.columns:
            console.print(_build_rich_table(grid))
        elif section.rounds:
            console.print(Text(f"{grid.title}: {grid.empty}"))
    for warning in (*list_learning_warnings(section), *list_hidden_differences(section)):
        console.print(Text(warning, style="yellow"))
    for note in notes:
        if note:
            console.print(Text(note, style="dim"))


def _build_rich_table(grid: Grid) -> Table:
    # Names come from users: a Text, unlike a string, is never read as markup.
    table = Table(title=Text(grid.title), caption=Text(grid.note), title_justify="left", caption_justify="left")
    table.box = SIMPLE_HEAD
    table.padding = (0, 1, 0, 0)
    table.add_column(grid.corner, overflow="fold")
    for column in grid.columns:
        table.add_column(column, justify="right")
    for label, _, entries in grid.rows:
        table.add_row(Text(label), *map(_format_entry, entries))
    return table


def _format_entry(entry: Entry | None) -> Text:
    """Return the mean, with its notes in lines below it."""
    if entry is None:
        return Text("–")
    style = "bold green" if entry.best else ""
    lines = [Text(entry.text, style=style)]
    for note in entry.notes:
        lines.append(Text(note, style="dim"))
    return Text("\n").join(lines)
