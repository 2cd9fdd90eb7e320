"""Differences between methods, paired by seed, with their bootstrap intervals."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llpp.report.bootstrap import MIN_PAIRS, Difference, compute_paired_difference
from llpp.report.collect import Collection, Method, Section
from llpp.report.tables import Entry, Grid, format_counts

CSV_COLUMNS = (
    "dataset", "quantity", "method", "baseline", "labelled",
    "mean_difference", "low", "high", "pairs", "excludes_zero",
)  # fmt: skip
NOTE = (
    "Mean over seeds of the difference between a method and the baseline with the same seed; below it, the 95 % "
    "interval of a percentile bootstrap over seeds, and * where that excludes 0. Read it with care: with few seeds "
    "such intervals are too narrow. Of normal differences, about 75 % of the intervals from 3 seeds hold the true "
    "mean, 82 % from 4, 85 % from 5 and 90 % from 10. And the more differences one looks at, the more stars are luck."
)


@dataclass(frozen=True)
class Row:
    """A method's differences to the baseline, by column; the last column is the mean over the others."""

    method: str
    cells: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Differences:
    """One quantity of a section; every other method minus the baseline."""

    title: str
    quantity: str
    baseline: str
    counts: tuple[int, ...]  # labelled images, one per column but the last
    rows: tuple[Row, ...]


def compute_differences(section: Section) -> list[Differences]:
    """Both main quantities; empty with fewer than two methods that have begun."""
    begun = [method for method in section.methods if method.started_runs]
    if len(begun) < 2:
        return []
    baseline = next((method for method in begun if method.runs[0].get_plug_in("acquisition") == "random"), begun[0])
    others = [method for method in begun if method is not baseline]
    found = []
    for quantity, metric, images in (
        ("selected_pck", section.get_metric_name("train"), "of the selected images"),
        ("test_pck", section.get_metric_name("test"), "on the test images"),
    ):
        counts = tuple(n for n in section.list_label_counts(quantity) if baseline.compute_cell(quantity, n))
        rows = [Row(method.label, (*_compute_row(method, baseline, quantity, counts),)) for method in others]
        if counts:
            title = f"{metric} {images}: difference to {baseline.label}"
            found.append(Differences(title, quantity, baseline.label, counts, tuple(rows)))
    return found


def _compute_row(
    method: Method, baseline: Method, quantity: str, counts: Sequence[int]
) -> Iterator[Difference | None]:
    """One difference per count, then that of the means over all counts that both methods know."""
    known = []
    for count in counts:
        ours, theirs = method.get_seed_values(quantity, count), baseline.get_seed_values(quantity, count)
        if ours:
            known.append((ours, theirs))
        yield _compute_difference(ours, theirs)
    whole = [seed for seed in (known[0][0] if known else ()) if all(seed in a and seed in b for a, b in known)]
    yield _compute_difference(
        *({seed: sum(pair[side][seed] for pair in known) / len(known) for seed in whole} for side in (0, 1))
    )


def _compute_difference(ours: dict[str, float], theirs: dict[str, float]) -> Difference | None:
    common = [seed for seed in ours if seed in theirs]
    return compute_paired_difference([ours[s] for s in common], [theirs[s] for s in common]) if common else None


def build_difference_grids(section: Section) -> list[Grid]:
    """The differences as they are shown; only those quantities that have an interval."""
    found = []
    for table in compute_differences(section):
        if any(cell and cell.interval for row in table.rows for cell in row.cells):
            most = [max((cell.pairs for cell in row.cells if cell), default=0) for row in table.rows]
            rows = [
                (row.method, str(pairs), tuple(_build_entry(cell, pairs) for cell in row.cells))
                for row, pairs in zip(table.rows, most, strict=True)
            ]
            columns = (*format_counts(table.counts), "mean over rounds")
            note = f"mean, 95 % bootstrap interval over seeds; * excludes 0; baseline: {table.baseline}"
            found.append(Grid(table.title, note, columns, tuple(rows), last="pairs of seeds"))
    return found


def explain_missing_intervals(section: Section) -> str | None:
    """A sentence in place of intervals, where there are methods to compare but too few seeds."""
    tables = compute_differences(section)
    if not tables or build_difference_grids(section):
        return None
    pairs = max((cell.pairs for table in tables for row in table.rows for cell in row.cells if cell), default=0)
    return (
        f"Too few seeds for intervals of the differences between methods: at most {pairs} in common with "
        f"{tables[0].baseline}; {MIN_PAIRS} are the least, and 5 or more are better."
    )


def _build_entry(cell: Difference | None, most: int) -> Entry | None:
    if cell is None:
        return None
    if cell.interval is None:
        return Entry(_format_signed(cell.mean), notes=(f"{_format_pairs(cell.pairs)}: too few",))
    low, high = map(_format_signed, cell.interval)
    fewer = (_format_pairs(cell.pairs),) if cell.pairs < most else ()
    return Entry(_format_signed(cell.mean) + " *" * cell.excludes_zero, notes=(f"{low} to {high}", *fewer))


def _format_pairs(count: int) -> str:
    return f"{count} pair{'s' * (count > 1)}"


def _format_signed(value: float) -> str:
    """With a sign, but no minus before zeros."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−").replace("+0.000", "0.000")


def format_differences_csv(collection: Collection) -> str:
    """One line per difference; `labelled` is empty for the mean over rounds, low and high with too few pairs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for section in collection.sections:
        for table in compute_differences(section):
            for row in table.rows:
                for count, cell in zip((*table.counts, ""), row.cells, strict=True):
                    if cell:
                        ends = ["", ""] if cell.interval is None else [f"{end:.6g}" for end in cell.interval]
                        star = "" if cell.interval is None else str(cell.excludes_zero).lower()
                        place = (section.dataset, table.quantity, row.method, table.baseline, count)
                        writer.writerow((*place, f"{cell.mean:.6g}", *ends, cell.pairs, star))
    return text.getvalue()
