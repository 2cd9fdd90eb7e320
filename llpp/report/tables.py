"""Means and spreads over seeds, as Markdown, tidy CSV and for the terminal."""

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llpp.report.collect import Collection, Method, Section, collect

Best = Literal["lowest", "highest"]
CSV_COLUMNS = ("dataset", "method", "round", "labelled", "quantity", "mean", "std", "seeds")


@dataclass(frozen=True)
class Entry:
    """A cell as it is shown."""

    text: str  # mean ± std
    best: bool
    pool: str | None = None  # the pool's mean beside it
    seeds: int | None = None  # where it rests on fewer seeds than its row

    @property
    def notes(self) -> list[str]:
        """What stands below or behind the mean."""
        pool = [f"pool {self.pool}"] if self.pool else []
        return pool + ([f"{self.seeds} seed{'s' * (self.seeds > 1)}"] if self.seeds else [])


@dataclass(frozen=True)
class Grid:
    """Methods × numbers of labelled images."""

    title: str
    note: str
    columns: tuple[int, ...]
    rows: tuple[tuple[str, int, tuple[Entry | None, ...]], ...]  # label, seeds, cells


def grid(section: Section, quantity: str, title: str, best: Best | None, beside: str | None = None) -> Grid:
    """One quantity of a section; `beside` is another one to show next to it, `best` says what to print bold."""
    columns = section.labelled("labelled" if best is None else quantity)  # all rounds, to stand under each other
    winners = {count: _winner(section, quantity, count, best) if best else None for count in columns}
    rows = []
    for method in section.methods:
        seeds = len(method.begun)
        cells: list[Entry | None] = []
        for count in columns:
            cell, pool = method.cell(quantity, count), method.cell(beside, count) if beside else None
            if cell is None:
                cells.append(None)
                continue
            mean = f"{cell.mean:.3f}"
            text = mean if cell.std is None else f"{mean} ± {cell.std:.3f}"
            fewer = len(cell.values) if len(cell.values) < seeds else None
            cells.append(Entry(text, mean == winners[count], f"{pool.mean:.3f}" if pool else None, fewer))
        rows.append((method.label, seeds, tuple(cells)))
    return Grid(title, spread_note(section), tuple(columns), tuple(rows))


def _winner(section: Section, quantity: str, labelled: int, best: Best) -> str | None:
    """The best mean as it is shown, so that what looks equal is treated as equal; None without a rival."""
    cells = [cell for method in section.methods if (cell := method.cell(quantity, labelled))]
    shown = [f"{cell.mean:.3f}" for cell in cells]
    return (min if best == "lowest" else max)(shown, key=float) if len(shown) > 1 else None


def spread_note(section: Section) -> str:
    """What the numbers rest on."""
    seeds = sorted({len(method.begun) for method in section.methods if method.begun})
    if not seeds:
        return "no round yet"
    if seeds == [1]:
        return "1 seed, no spread"
    counts = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"mean ± standard deviation (n − 1) over {counts} seeds"


def main_grids(section: Section) -> list[Grid]:
    """The two parts of LearningLoss++'s Table 3."""
    metric = section.metric
    return [
        grid(
            section, "selected_pck", f"(a) {metric} of the selected images: lower finds more failures", "lowest",
            beside="pool_pck",
        ),
        grid(section, "test_pck", f"(b) {metric} on the test images: higher is better", "highest"),
    ]  # fmt: skip


def ranking_grids(section: Section) -> list[Grid]:
    """How well predicted losses order the true ones on the test images."""
    found = [
        grid(section, "loss_spearman", "Spearman ρ of predicted and true loss", None),
        grid(section, "loss_pair_accuracy", "Share of pairs in the right order", None),
        grid(section, "failure_auroc", "AUROC of failures (PCK below one half)", None),
    ]
    return [table for table in found if any(any(cells) for _, _, cells in table.rows)]


def waiting(method: Method) -> str | None:
    """A sentence about seeds that have no round yet."""
    missing = [str(run.seed) for run in method.runs if not run.state.rounds]
    return f"{method.label}: no round yet (seed {', '.join(missing)})" if missing else None


def markdown(collection: Collection) -> str:
    """Every section's tables for GitHub."""
    lines: list[str] = []
    for section in collection.sections:
        lines += [f"## {_md(section.dataset)}", ""]
        for table in [*main_grids(section), *ranking_grids(section)]:
            lines += [f"**{_md(table.title)}** ({table.note})", "", *_markdown_table(table), ""]
        if notes := [note for method in section.methods if (note := waiting(method))]:
            lines += [*(f"- {_md(note)}" for note in notes), ""]
    return "\n".join(lines)


def _markdown_table(table: Grid) -> list[str]:
    if not table.columns:
        return ["No round has measured this yet."]
    head = ["labelled images", *(f"{count:,}" for count in table.columns), "seeds"]
    lines = [_line(head), _line([":--", *["--:"] * (len(head) - 1)])]
    for label, seeds, cells in table.rows:
        lines.append(_line([_md(label), *(_markdown_cell(cell) for cell in cells), str(seeds)]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Entry | None) -> str:
    if cell is None:
        return "–"
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} ({', '.join(cell.notes)})" if cell.notes else text


def _md(text: str) -> str:
    """A user's string as plain words of a Markdown table: no tags, no column breaks, no emphasis."""
    safe = html.escape(re.sub(r"\s+", " ", text), quote=False)
    return re.sub(r"([\\|*`\[\]])", r"\\\1", safe)


def tidy_csv(collection: Collection) -> str:
    """One line per dataset, method, round and quantity; std is empty with one seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for section in collection.sections:
        for method in section.methods:
            names = dict.fromkeys(k for r in method.rounds for k in r.row if k not in ("round", "labelled"))
            for quantity in names:
                for labelled in method.labelled(quantity):
                    if cell := method.cell(quantity, labelled):
                        std = "" if cell.std is None else f"{cell.std:.6g}"
                        place = (section.dataset, method.label, cell.round, labelled, quantity)
                        writer.writerow((*place, f"{cell.mean:.6g}", std, len(cell.values)))
    return text.getvalue()


def print_tables(folders: Sequence[Path], console: Console | None = None) -> None:
    """Print the two main tables of all runs under `folders`."""
    console = console or Console()
    for section in collect(folders).sections:
        console.print(Text(section.dataset, style="bold"))
        for table in main_grids(section):
            if table.columns:
                console.print(_rich(table))
        for method in section.methods:
            if note := waiting(method):
                console.print(Text(note, style="dim"))


def _rich(table: Grid) -> Table:
    shown = Table(title=Text(table.title), caption=Text(table.note), title_justify="left", caption_justify="left")
    shown.box, shown.padding = SIMPLE_HEAD, (0, 1, 0, 0)
    shown.add_column("labelled images", overflow="fold")
    for count in table.columns:
        shown.add_column(f"{count:,}", justify="right")
    for label, _, cells in table.rows:
        shown.add_row(Text(label), *(_rich_cell(cell) for cell in cells))
    return shown


def _rich_cell(cell: Entry | None) -> Text:
    if cell is None:
        return Text("–")
    return Text("\n").join([Text(cell.text, style="bold green" if cell.best else ""), *map(_dim, cell.notes)])


def _dim(note: str) -> Text:
    return Text(note, style="dim")
