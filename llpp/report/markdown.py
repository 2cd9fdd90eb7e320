"""The tables for GitHub."""

import html
import re
from collections.abc import Sequence

from llpp.report.collect import Collection, Section
from llpp.report.differences import NOTE, difference_grids, too_few_seeds
from llpp.report.reference import Reference, comparison
from llpp.report.tables import Entry, Grid, main_grids, more_grids, ranking_grids, waiting


def markdown(collection: Collection, reference: Reference | None = None) -> str:
    """Every section's tables, and the jobs that failed."""
    lines: list[str] = []
    for section in collection.sections:
        lines += [f"## {_md(section.dataset)}", "", *_section(section, reference)]
        if notes := [note for method in section.methods if (note := waiting(method))]:
            lines += [*(f"- {_md(note)}" for note in notes), ""]
    if collection.failures:
        lines += ["## Failed jobs", "", *(f"- {_md(str(failure))}" for failure in collection.failures), ""]
    return "\n".join(lines)


def _section(section: Section, reference: Reference | None) -> list[str]:
    lines = _tables(main_grids(section))
    if found := difference_grids(section):
        lines += [*_tables(found), _md(NOTE), ""]
    elif few := too_few_seeds(section):
        lines += [_md(few), ""]
    if reference:
        beside = comparison(section, reference)
        lines += [*_tables(beside.grids), _md(beside.note), ""]
    return lines + _tables([*more_grids(section), *ranking_grids(section)])


def _tables(grids: Sequence[Grid]) -> list[str]:
    return [
        line for table in grids for line in (f"**{_md(table.title)}** ({_md(table.note)})", "", *_table(table), "")
    ]


def _table(table: Grid) -> list[str]:
    if not table.columns:
        return ["No round has measured this yet."]
    head = [table.corner, *table.columns, table.last]
    lines = [_line(head), _line([":--", *["--:"] * (len(head) - 1)])]
    for label, last, cells in table.rows:
        lines.append(_line([_md(label), *(_cell(cell) for cell in cells), last]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Entry | None) -> str:
    if cell is None:
        return "–"
    text = f"**{cell.text}**" if cell.best else _md(cell.text)
    return f"{text} ({', '.join(cell.notes)})" if cell.notes else text


def _md(text: str) -> str:
    """A user's string as plain words of a Markdown table: no tags, no column breaks, no emphasis."""
    safe = html.escape(re.sub(r"\s+", " ", text), quote=False)
    return re.sub(r"([\\|*`\[\]])", r"\\\1", safe)
