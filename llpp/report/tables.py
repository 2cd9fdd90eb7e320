"""Means and spreads over seeds: the grids that every output shows, and a tidy CSV."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llpp.report.collect import Cell, Collection, Method, Section

Best = Literal["lowest", "highest"]
CSV_COLUMNS = ("dataset", "method", "round", "labelled", "quantity", "mean", "std", "seeds")
THRESHOLD_PREFIX = "test_pck_at_"  # followed by a threshold


@dataclass(frozen=True)
class Entry:
    """A cell as it is shown."""

    text: str  # mean ± std
    best: bool = False
    notes: tuple[str, ...] = ()  # what stands below or behind the mean


GridRow = tuple[str, str, tuple[Entry | None, ...]]  # label, last column, cells


@dataclass(frozen=True)
class Grid:
    """Rows × columns, mostly methods × numbers of labelled images."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[GridRow, ...]
    corner: str = "labelled images"
    last: str = "seeds"


def build_grid(section: Section, quantity: str, title: str, best: Best | None, beside: str | None = None) -> Grid:
    """One quantity of a section; `beside` is another one to show next to it, `best` says what to print bold."""
    columns = section.list_label_counts(
        "labelled" if best is None else quantity
    )  # all rounds, to stand under each other
    winners = {
        count: find_best([method.compute_cell(quantity, count) for method in section.methods], best)
        for count in columns
    }
    rows = []
    for method in section.methods:
        seeds = len(method.started_runs)
        cells: list[Entry | None] = []
        for count in columns:
            cell, pool = method.compute_cell(quantity, count), method.compute_cell(beside, count) if beside else None
            if cell is None:
                cells.append(None)
                continue
            notes = [f"pool {pool.mean:.3f}"] if pool else []
            if len(cell.values) < seeds:
                notes.append(f"{len(cell.values)} seed{'s' * (len(cell.values) > 1)}")
            cells.append(Entry(format_mean_and_spread(cell), f"{cell.mean:.3f}" == winners[count], tuple(notes)))
        rows.append((method.label, str(seeds), tuple(cells)))
    return Grid(title, describe_spread(section), format_counts(columns), tuple(rows))


def format_counts(counts: Sequence[int]) -> tuple[str, ...]:
    """Numbers of images as column heads."""
    return tuple(f"{count:,}" for count in counts)


def format_mean_and_spread(cell: Cell) -> str:
    """`0.550 ± 0.071`, or the mean alone of one seed."""
    return f"{cell.mean:.3f}" if cell.std is None else f"{cell.mean:.3f} ± {cell.std:.3f}"


def find_best(cells: Sequence[Cell | None], best: Best | None) -> str | None:
    """The best mean as it is shown, so that what looks equal is treated as equal; None without a rival."""
    shown = [f"{cell.mean:.3f}" for cell in cells if cell]
    if best is None or len(shown) < 2:
        return None
    return (min if best == "lowest" else max)(shown, key=float)


def describe_spread(section: Section) -> str:
    """What the numbers rest on."""
    seeds = sorted({len(method.started_runs) for method in section.methods if method.started_runs})
    if not seeds:
        return "no round yet"
    if seeds == [1]:
        return "1 seed, no spread"
    counts = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"mean ± standard deviation (n − 1) over {counts} seeds"


def build_main_grids(section: Section) -> list[Grid]:
    """The two parts of LearningLoss++'s Table 3."""
    selected = f"(a) {section.get_metric_name('train')} of the selected images: lower finds more failures"
    tested = build_grid(
        section, "test_pck", f"(b) {section.get_metric_name('test')} on the test images: higher is better", "highest"
    )
    if any(counts := list_validation_counts(section)):
        more = f"; {', '.join(format_counts(counts))} labelled validation images steered training and come on top"
        tested = Grid(tested.title, tested.note + more, tested.columns, tested.rows)
    return [build_grid(section, "selected_pck", selected, "lowest", beside="pool_pck"), tested]


def list_validation_counts(section: Section) -> list[int]:
    """Numbers of labels that rounds spent on validation, smallest first; empty where no round says it."""
    rows = (r.row.get("validation_labels") for method in section.methods for r in method.rounds)
    return sorted({int(spent) for spent in rows if spent is not None})


def build_threshold_grids(section: Section) -> list[Grid]:
    """The test images by other thresholds, and by the area under the curve over all of them."""
    name = section.get_metric_name("test").partition("@")[0]
    known = {quantity for method in section.methods for r in method.rounds for quantity in r.row}
    thresholds = sorted(
        (q.removeprefix(THRESHOLD_PREFIX) for q in known if re.fullmatch(THRESHOLD_PREFIX + r"[\d.]+", q)), key=float
    )
    found = [build_grid(section, "test_pck_auc", f"Area under the {name} curve on the test images", None)]
    found += [
        build_grid(section, f"{THRESHOLD_PREFIX}{t}", f"{name}@{t} on the test images", None) for t in thresholds
    ]
    return _drop_empty_grids(found)


def build_ranking_grids(section: Section) -> list[Grid]:
    """How well predicted losses order the true ones on the test images."""
    found = [
        build_grid(section, "loss_spearman", "Spearman ρ of predicted and true loss", None),
        build_grid(section, "loss_pair_accuracy", "Share of pairs in the right order", None),
        build_grid(section, "failure_auroc", "AUROC of failures (PCK below one half)", None),
    ]
    return _drop_empty_grids(found)


def _drop_empty_grids(grids: Sequence[Grid]) -> list[Grid]:
    """Those with a number in them."""
    return [table for table in grids if any(any(cells) for _, _, cells in table.rows)]


def describe_missing_seeds(method: Method) -> str | None:
    """A sentence about seeds that have no round yet."""
    missing = [str(run.seed) for run in method.runs if not run.state.rounds]
    return f"{method.label}: no round yet (seed {', '.join(missing)})" if missing else None


def format_tidy_csv(collection: Collection) -> str:
    """One line per dataset, method, round and quantity; std is empty with one seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for section in collection.sections:
        for method in section.methods:
            names = dict.fromkeys(k for r in method.rounds for k in r.row if k not in ("round", "labelled"))
            for quantity in names:
                for labelled in method.list_label_counts(quantity):
                    if cell := method.compute_cell(quantity, labelled):
                        std = "" if cell.std is None else f"{cell.std:.6g}"
                        place = (section.dataset, method.label, cell.round, labelled, quantity)
                        writer.writerow((*place, f"{cell.mean:.6g}", std, len(cell.values)))
    return text.getvalue()
