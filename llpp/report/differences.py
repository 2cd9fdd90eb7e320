"""Differences between methods, paired by seed, with their bootstrap intervals."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llpp.report.bootstrap import MIN_PAIRS, Difference, compute_paired_difference
from llpp.report.collect import Collection, Method, Section
from llpp.report.evidence import format_signed
from llpp.report.metric import SELECTED_METRIC, TEST_METRIC, resolve_column
from llpp.report.tables import Entry, Grid, GridRow, format_counts, format_number_of

CSV_COLUMNS = (
    "dataset", "quantity", "method", "baseline", "labelled",
    "mean_difference", "low", "high", "pairs", "excludes_zero",
)  # fmt: skip
NOTE = (
    "Mean over seeds of the difference between a method and the baseline with the same seed; below it, the 95 % "
    "interval of a percentile bootstrap over seeds, and * where that excludes 0. Read it with care: with few seeds "
    "such intervals are too narrow. Of normal differences, about 75 % of the intervals from 3 seeds hold the true "
    "mean, 82 % from 4, 85 % from 5 and 90 % from 10; the summary takes Student's intervals, which are wider "
    "and hold it 95 times in 100. And the more differences one looks at, the more stars are luck."
)
SeedValues = Mapping[str, float]  # seed → value


@dataclass(frozen=True)
class Row:
    """A method's differences to the baseline, by column; the last column is the mean over the others."""

    method: str
    cells: tuple[Difference | None, ...]

    @property
    def max_pairs(self) -> int:
        """The largest number of pairs of seeds in a cell; 0 if all cells are empty."""
        return max((cell.pairs for cell in self.cells if cell), default=0)

    @property
    def has_intervals(self) -> bool:
        """Whether any cell has an interval."""
        return any(cell.interval for cell in self.cells if cell)


@dataclass(frozen=True)
class Differences:
    """One quantity of a section; every other method minus the baseline."""

    title: str
    quantity: str
    baseline: str
    counts: tuple[int, ...]  # labelled images, one per column but the last
    rows: tuple[Row, ...]

    @property
    def has_intervals(self) -> bool:
        """Whether any row has an interval."""
        return any(row.has_intervals for row in self.rows)


def compute_differences(section: Section) -> list[Differences]:
    """Compute the differences of both main quantities; empty with fewer than two methods that have started."""
    if len(section.started_methods) < 2:
        return []
    baseline = _choose_baseline(section)
    tables = []
    for quantity, title in (
        (SELECTED_METRIC, f"{section.get_metric_name('train')} of the selected images"),
        (TEST_METRIC, f"{section.get_metric_name('test')} on the test images"),
    ):
        counts = []
        for count in section.list_label_counts(quantity):
            if baseline.compute_cell(quantity, count):
                counts.append(count)
        if not counts:
            continue
        rows = []
        for method in section.started_methods:
            if method is not baseline:
                rows.append(_compute_row(method, baseline, quantity, counts))
        title = f"{title}: difference to {baseline.label}"
        tables.append(Differences(title, quantity, baseline.label, tuple(counts), tuple(rows)))
    return tables


def _choose_baseline(section: Section) -> Method:
    """Return the first method that selects at random, or else the first one."""
    for method in section.started_methods:
        if method.selects_at_random:
            return method
    return section.started_methods[0]


def _compute_row(method: Method, baseline: Method, quantity: str, counts: Sequence[int]) -> Row:
    """Compute one difference per count, then that of the means over the counts at which the method has a value."""
    cells = []
    ours_by_count = []
    theirs_by_count = []
    for count in counts:
        ours = method.get_seed_values(quantity, count)
        theirs = baseline.get_seed_values(quantity, count)
        cells.append(_compute_difference(ours, theirs))
        if ours:
            ours_by_count.append(ours)
            theirs_by_count.append(theirs)
    seeds = _find_common_seeds([*ours_by_count, *theirs_by_count])
    our_means = _average_over_counts(ours_by_count, seeds)
    their_means = _average_over_counts(theirs_by_count, seeds)
    cells.append(_compute_difference(our_means, their_means))
    return Row(method.label, tuple(cells))


def _find_common_seeds(values: Sequence[SeedValues]) -> list[str]:
    """Return the seeds that have a value in every mapping, in the order of the first one."""
    if not values:
        return []
    common = set(values[0]).intersection(*values[1:])
    return [seed for seed in values[0] if seed in common]


def _average_over_counts(values: Sequence[SeedValues], seeds: Sequence[str]) -> SeedValues:
    """Return seed → mean of its values."""
    means = {}
    for seed in seeds:
        means[seed] = sum(by_seed[seed] for by_seed in values) / len(values)
    return means


def _compute_difference(ours: SeedValues, theirs: SeedValues) -> Difference | None:
    """Compute the difference over the seeds that both have; None if there is no such seed."""
    seeds = _find_common_seeds([ours, theirs])
    if not seeds:
        return None
    our_values = [ours[seed] for seed in seeds]
    their_values = [theirs[seed] for seed in seeds]
    return compute_paired_difference(our_values, their_values)


def build_difference_grids(section: Section) -> list[Grid]:
    """Build the grids of the differences, for those quantities that have an interval."""
    grids = []
    for table in compute_differences(section):
        if not table.has_intervals:
            continue
        rows = tuple(map(_build_grid_row, table.rows))
        columns = (*format_counts(table.counts), "mean over rounds")
        note = f"mean, 95 % bootstrap interval over seeds; * excludes 0; baseline: {table.baseline}"
        grids.append(Grid(table.title, note, columns, rows, last="pairs of seeds"))
    return grids


def _build_grid_row(row: Row) -> GridRow:
    entries = [_build_entry(cell, row.max_pairs) for cell in row.cells]
    return row.method, str(row.max_pairs), tuple(entries)


def _build_entry(cell: Difference | None, max_pairs: int) -> Entry | None:
    """Build a cell; it names its number of pairs where that is below `max_pairs`, the row's last column."""
    if cell is None:
        return None
    mean = format_signed(cell.mean)
    pairs = format_number_of(cell.pairs, "pair")
    if cell.interval is None:
        return Entry(mean, notes=(f"{pairs}: too few",))
    low, high = cell.interval
    notes = [f"{format_signed(low)} to {format_signed(high)}"]
    if cell.pairs < max_pairs:
        notes.append(pairs)
    if cell.excludes_zero:
        mean += " *"
    return Entry(mean, notes=tuple(notes))


def explain_missing_intervals(section: Section) -> str | None:
    """Return a sentence to show where there are methods to compare but too few seeds for intervals; else None."""
    tables = compute_differences(section)
    if not tables:
        return None
    pairs = 0
    for table in tables:
        if table.has_intervals:
            return None
        for row in table.rows:
            pairs = max(pairs, row.max_pairs)
    return (
        f"Too few seeds for intervals of the differences between methods: at most {pairs} in common with "
        f"{tables[0].baseline}; {MIN_PAIRS} are the least, and 5 or more are better."
    )


def format_differences_csv(collection: Collection) -> str:
    """Format one line per difference.

    `labelled` is empty for the mean over rounds; `low`, `high` and `excludes_zero` are empty with too few pairs.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for section in collection.sections:
        for table in compute_differences(section):
            for row in table.rows:
                for count, cell in zip((*table.counts, ""), row.cells, strict=True):
                    if cell is None:
                        continue
                    quantity = resolve_column(table.quantity, section.metric)
                    key = (section.dataset, quantity, row.method, table.baseline, count)
                    writer.writerow((*key, *_format_csv_values(cell)))
    return text.getvalue()


def _format_csv_values(cell: Difference) -> tuple[str, str, str, int, str]:
    """Return mean, both ends of the interval, number of pairs, and whether the interval excludes 0."""
    mean = f"{cell.mean:.6g}"
    if cell.interval is None:
        return mean, "", "", cell.pairs, ""
    low, high = cell.interval
    return mean, f"{low:.6g}", f"{high:.6g}", cell.pairs, str(cell.excludes_zero).lower()
