"""The tables for GitHub."""

import html
import re
from collections.abc import Sequence

from llpp.report.collect import Collection, Section
from llpp.report.differences import NOTE, build_difference_grids, explain_missing_intervals
from llpp.report.reference import Reference, compare_with_reference
from llpp.report.tables import (
    Entry,
    Grid,
    build_main_grids,
    build_ranking_grids,
    build_threshold_grids,
    describe_missing_seeds,
)


def format_markdown(collection: Collection, reference: Reference | None = None) -> str:
    """Every section's tables, and the jobs that failed."""
    lines: list[str] = []
    for section in collection.sections:
        lines += [f"## {_escape(section.dataset)}", "", *_format_section(section, reference)]
        if notes := [note for method in section.methods if (note := describe_missing_seeds(method))]:
            lines += [*(f"- {_escape(note)}" for note in notes), ""]
    if collection.failures:
        lines += ["## Failed jobs", "", *(f"- {_escape(str(failure))}" for failure in collection.failures), ""]
    return "\n".join(lines)


def _format_section(section: Section, reference: Reference | None) -> list[str]:
    lines = _format_tables(build_main_grids(section))
    if found := build_difference_grids(section):
        lines += [*_format_tables(found), _escape(NOTE), ""]
    elif few := explain_missing_intervals(section):
        lines += [_escape(few), ""]
    if reference:
        beside = compare_with_reference(section, reference)
        lines += [*_format_tables(beside.grids), _escape(beside.note), ""]
    return lines + _format_tables([*build_threshold_grids(section), *build_ranking_grids(section)])


def _format_tables(grids: Sequence[Grid]) -> list[str]:
    return [
        line
        for table in grids
        for line in (f"**{_escape(table.title)}** ({_escape(table.note)})", "", *_format_table(table), "")
    ]


def _format_table(table: Grid) -> list[str]:
    if not table.columns:
        return ["No round has measured this yet."]
    head = [table.corner, *table.columns, table.last]
    lines = [_format_row(head), _format_row([":--", *["--:"] * (len(head) - 1)])]
    for label, last, cells in table.rows:
        lines.append(_format_row([_escape(label), *(_format_cell(cell) for cell in cells), last]))
    return lines


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_cell(cell: Entry | None) -> str:
    if cell is None:
        return "–"
    text = f"**{cell.text}**" if cell.best else _escape(cell.text)
    return f"{text} ({', '.join(cell.notes)})" if cell.notes else text


def _escape(text: str) -> str:
    """A user's string as plain words of a Markdown table: no tags, no column breaks, no emphasis."""
    safe = html.escape(re.sub(r"\s+", " ", text), quote=False)
    return re.sub(r"([\\|*`\[\]])", r"\\\1", safe)
