"""The tables as Markdown for GitHub."""

import html
import re
from collections.abc import Sequence
from dataclasses import replace

from llpp.report.collect import Collection, Section
from llpp.report.differences import NOTE, build_difference_grids, explain_missing_intervals
from llpp.report.failure_scores import build_failure_grids
from llpp.report.hidden_differences import list_hidden_differences
from llpp.report.reference import Reference, compare_with_reference
from llpp.report.stopping import Limits, build_audit_grids, build_stopping_grids
from llpp.report.summary import list_learning_warnings
from llpp.report.tables import (
    Entry,
    Grid,
    build_main_grids,
    build_ranking_grids,
    build_threshold_grids,
    describe_missing_seeds,
)


def format_markdown(collection: Collection, reference: Reference | None = None, limits: Limits | None = None) -> str:
    """Format every section's tables, and the jobs that failed."""
    lines: list[str] = []
    for section in collection.sections:
        lines += [f"## {_escape(section.dataset)}", ""]
        lines += _format_section(section, reference, limits)
        notes = filter(None, map(describe_missing_seeds, section.methods))
        lines += _format_list(list(notes))
    if collection.failures:
        lines += ["## Failed jobs", ""]
        lines += _format_list(list(map(str, collection.failures)))
    return "\n".join(lines)


def _format_section(section: Section, reference: Reference | None, limits: Limits | None) -> list[str]:
    lines = _format_list([*list_learning_warnings(section), *list_hidden_differences(section)])
    lines += _format_grids(build_main_grids(section))
    difference_grids = build_difference_grids(section)
    missing_intervals = explain_missing_intervals(section)
    if difference_grids:
        lines += _format_grids(difference_grids)
        lines += [_escape(NOTE), ""]
    elif missing_intervals:
        lines += [_escape(missing_intervals), ""]
    if reference:
        comparison = compare_with_reference(section, reference)
        lines += _format_grids(comparison.grids)
        lines += [_escape(comparison.note), ""]
    lines += _format_grids(build_threshold_grids(section))
    lines += _format_grids(build_ranking_grids(section))
    lines += _format_grids(build_failure_grids(section))
    lines += _format_grids(build_audit_grids(section))
    lines += _format_grids(_name_stopping_grids(build_stopping_grids(section, limits)))
    return lines


def _name_stopping_grids(grids: Sequence[Grid]) -> list[Grid]:
    """Give each method's table a title that says what it is about."""
    return [replace(grid, title=f"When labelling could have stopped: {grid.title}") for grid in grids]


def _format_list(notes: Sequence[str]) -> list[str]:
    """Return a bullet list; nothing at all for no notes."""
    lines = []
    for note in notes:
        lines.append(f"- {_escape(note)}")
    if lines:
        lines.append("")
    return lines


def _format_grids(grids: Sequence[Grid]) -> list[str]:
    lines: list[str] = []
    for grid in grids:
        lines += [f"**{_escape(grid.title)}** ({_escape(grid.note)})", ""]
        lines += _format_grid(grid)
        lines.append("")
    return lines


def _format_grid(grid: Grid) -> list[str]:
    if not grid.columns:
        return [_escape(grid.empty)]
    head = [grid.corner, *grid.columns, grid.last]
    # Labels are aligned on the left, numbers on the right.
    alignment = [":--", *["--:"] * (len(head) - 1)]
    lines = [_format_row(head), _format_row(alignment)]
    for label, last, entries in grid.rows:
        lines.append(_format_row([_escape(label), *map(_format_entry, entries), last]))
    return lines


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_entry(entry: Entry | None) -> str:
    if entry is None:
        return "–"
    text = f"**{entry.text}**" if entry.best else _escape(entry.text)
    if not entry.notes:
        return text
    return f"{text} ({', '.join(entry.notes)})"


def _escape(text: str) -> str:
    """Return a user's string as plain words of a Markdown table: no tags, no column breaks, no emphasis."""
    one_line = re.sub(r"\s+", " ", text)
    without_tags = html.escape(one_line, quote=False)
    return re.sub(r"([\\|*`\[\]])", r"\\\1", without_tags)
