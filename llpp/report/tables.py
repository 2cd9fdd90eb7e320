"""Means and spreads over seeds: the grids that every output shows, and a tidy CSV."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llpp.report.collect import Cell, Collection, Method, Section
from llpp.report.metric import (
    DEFAULT_NAME,
    POOL_METRIC,
    SELECTED_METRIC,
    TEST_FILE,
    TEST_METRIC,
    TEST_METRIC_AREA,
    TEST_METRIC_AT,
    resolve_column,
)

Best = Literal["lowest", "highest"]
CSV_COLUMNS = ("dataset", "method", "round", "labelled", "quantity", "mean", "std", "seeds")


@dataclass(frozen=True)
class Entry:
    """A cell as it is shown."""

    text: str  # mean ± std
    best: bool = False
    notes: tuple[str, ...] = ()  # shown below or behind the mean


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
    empty: str = "No round has measured this yet."  # shown where there are no columns


def build_grid(section: Section, quantity: str, title: str, best: Best | None, pool: str | None = None) -> Grid:
    """Build the grid of one quantity of a section.

    Args:
        section: gives one row per method.
        quantity: what the cells show.
        title: of the grid.
        best: which mean of a column is printed bold; None for none.
        pool: the same quantity of the whole pool, whose mean is shown with each cell; None to leave it out.
    """
    counts = section.list_label_counts(quantity)
    if best is None:
        # These grids are shown as one table, so all need the same columns: every round.
        counts = section.list_label_counts("labelled")
    best_means = {}
    for count in counts:
        cells = [method.compute_cell(quantity, count) for method in section.methods]
        best_means[count] = find_best(cells, best)
    rows = [_build_row(method, quantity, pool, best_means) for method in section.methods]
    return Grid(title, describe_spread(section), format_counts(counts), tuple(rows))


def _build_row(
    method: Method, quantity: str, other_quantity: str | None, best_means: Mapping[int, str | None]
) -> GridRow:
    """Build a method's row with one cell per number of labelled images in `best_means`."""
    seeds = len(method.started_runs)
    entries: list[Entry | None] = []
    for count, best_mean in best_means.items():
        cell = method.compute_cell(quantity, count)
        if cell is None:
            entries.append(None)
            continue
        notes = []
        other_cell = None
        if other_quantity:
            other_cell = method.compute_cell(other_quantity, count)
        if other_cell:
            notes.append(f"pool {format_mean(other_cell)}")
        if len(cell.values) < seeds:
            notes.append(format_number_of(len(cell.values), "seed"))
        entries.append(Entry(format_mean_and_spread(cell), format_mean(cell) == best_mean, tuple(notes)))
    return method.label, str(seeds), tuple(entries)


def format_number_of(count: int, noun: str) -> str:
    """Return `1 seed`, `2 seeds`, and so on."""
    if count > 1:
        return f"{count} {noun}s"
    return f"{count} {noun}"


def format_counts(counts: Sequence[int]) -> tuple[str, ...]:
    """Format numbers of images as column heads."""
    return tuple(f"{count:,}" for count in counts)


def format_mean(cell: Cell) -> str:
    """Format a mean with the digits that every table shows: `0.550`."""
    return f"{cell.mean:.3f}"


def format_mean_and_spread(cell: Cell) -> str:
    """Return `0.550 ± 0.071`, or the mean alone for one seed."""
    if cell.std is None:
        return format_mean(cell)
    return f"{format_mean(cell)} ± {cell.std:.3f}"


def find_best(cells: Sequence[Cell | None], best: Best | None) -> str | None:
    """Return the best mean as it is shown; None with fewer than two means.

    It is compared with other means as text, so that all means that look equal are bold.
    """
    means = [format_mean(cell) for cell in cells if cell]
    if best is None or len(means) < 2:
        return None
    if best == "lowest":
        return min(means, key=float)
    return max(means, key=float)


def describe_spread(section: Section) -> str:
    """Say over how many seeds the means and standard deviations are taken."""
    seeds = sorted({len(method.started_runs) for method in section.started_methods})
    if not seeds:
        return "no round yet"
    if seeds == [1]:
        return "1 seed, no spread"
    counts = str(seeds[0])
    if len(seeds) > 1:
        counts = f"{seeds[0]} to {seeds[-1]}"
    return f"mean ± standard deviation (n − 1) over {counts} seeds"


def build_main_grids(section: Section) -> list[Grid]:
    """Build the two parts of LearningLoss++'s Table 3."""
    better, worse = ("higher", "lower") if section.higher_is_better else ("lower", "higher")
    best: Best = "highest" if section.higher_is_better else "lowest"
    worst: Best = "lowest" if section.higher_is_better else "highest"
    selected_title = f"(a) {section.get_metric_name('train')} of the selected images: {worse} finds more failures"
    selected = build_grid(section, SELECTED_METRIC, selected_title, worst, pool=POOL_METRIC)
    test_title = f"(b) {section.get_metric_name('test')} on the test images: {better} is better"
    tested = build_grid(section, TEST_METRIC, test_title, best)
    if not tested.columns and section.rounds:
        tested = replace(tested, empty=_explain_undefined_test(section))
    validation_counts = list_validation_counts(section)
    # A 0 means that no labels were spent on validation.
    if any(validation_counts):
        words = ", ".join(format_counts(validation_counts))
        note = f"{tested.note}; {words} labelled validation images steered training and come on top"
        tested = replace(tested, note=note)
    return [selected, tested]


def _explain_undefined_test(section: Section) -> str:
    """Say why rounds that were tested have no test metric."""
    metric = section.get_metric_name("test")
    if not _has_test_images(section):
        is_chosen = section.first_run.state.result_settings.get("dataset.test") == 0
        cause = " (dataset.test=0)" if is_chosen else ""
        return f"The test {metric} is not defined: there are no test images{cause}."
    undefined = 0
    for committed in section.rounds:
        undefined = max(undefined, int(committed.row.get("test_undefined") or 0))
    if not undefined or section.normaliser is None:
        return (
            f"The test {metric} is not defined: no test image has a label that it counts; llpp data shows the labels."
        )
    remedy = "; another pck=… such as pck=box divides by another length" if section.metric == DEFAULT_NAME else ""
    return (
        f"The test {metric} is not defined: none of the {undefined:,} labelled test images has the length that it "
        f"divides by ({section.normaliser}){remedy}."
    )


def _has_test_images(section: Section) -> bool:
    """Return whether a round has tested anything; True where that is not known."""
    for run in section.runs:
        for committed in run.state.rounds:
            tested = run.read_round_columns(committed.number, TEST_FILE, ("id",))
            if tested is None or len(tested["id"]):
                return True
    return False


def list_validation_counts(section: Section) -> list[int]:
    """Return the numbers of labels that rounds spent on validation, smallest first; empty if no round recorded it."""
    counts = set()
    for committed in section.rounds:
        count = committed.row.get("validation_labels")
        if count is not None:
            counts.add(int(count))
    return sorted(counts)


def build_threshold_grids(section: Section) -> list[Grid]:
    """Build the grids of the test images at other thresholds, and of the area under the curve over all of them."""
    name = section.get_metric_name("test").partition("@")[0]
    grids = [build_grid(section, TEST_METRIC_AREA, f"Area under the {name} curve on the test images", None)]
    for threshold in _list_thresholds(section):
        title = f"{name}@{threshold} on the test images"
        grids.append(build_grid(section, f"{TEST_METRIC_AT}{threshold}", title, None))
    return _drop_empty_grids(grids)


def _list_thresholds(section: Section) -> list[str]:
    """Return the further thresholds that any round recorded, smallest first."""
    prefix = resolve_column(TEST_METRIC_AT, section.metric)
    thresholds = set()
    for committed in section.rounds:
        for column in committed.row:
            if re.fullmatch(re.escape(prefix) + r"[\d.]+", column):
                thresholds.add(column.removeprefix(prefix))
    return sorted(thresholds, key=float)


def build_ranking_grids(section: Section) -> list[Grid]:
    """Build the grids that show how well predicted losses order the true ones on the test images."""
    grids = [
        build_grid(section, "loss_spearman", "Spearman ρ of predicted and true loss", None),
        build_grid(section, "loss_pair_accuracy", "Share of pairs in the right order", None),
        build_grid(
            section, "failure_auroc", f"AUROC of failures ({section.metric_title} of the image below one half)", None
        ),
        build_grid(section, "beta", "β: how far the selection leaned to high predicted losses", None),
    ]
    return _drop_empty_grids(grids)


def _drop_empty_grids(grids: Sequence[Grid]) -> list[Grid]:
    """Return the grids with at least one number."""
    return [grid for grid in grids if _has_numbers(grid)]


def _has_numbers(grid: Grid) -> bool:
    return any(any(entries) for _, _, entries in grid.rows)


def describe_missing_seeds(method: Method) -> str | None:
    """Return a sentence about the seeds without a committed round; None if there are none."""
    missing = [str(run.seed) for run in method.runs if not run.state.rounds]
    if not missing:
        return None
    return f"{method.label}: no round yet (seed {', '.join(missing)})"


def format_tidy_csv(collection: Collection) -> str:
    """Format one line per dataset, method, round and quantity; std is empty with one seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for section in collection.sections:
        for method in section.methods:
            for quantity in _list_quantities(method):
                for labelled in method.list_label_counts(quantity):
                    cell = method.compute_cell(quantity, labelled)
                    if cell is None:
                        continue
                    key = (section.dataset, method.label, cell.round, labelled, quantity)
                    writer.writerow((*key, *_format_csv_values(cell)))
    return text.getvalue()


def _list_quantities(method: Method) -> list[str]:
    """Return the columns that the method's rounds recorded, in order of appearance."""
    columns: dict[str, None] = {}
    for committed in method.rounds:
        columns |= dict.fromkeys(committed.row)
    return [column for column in columns if column not in ("round", "labelled")]


def _format_csv_values(cell: Cell) -> tuple[str, str, int]:
    """Return mean, std and number of seeds."""
    std = ""
    if cell.std is not None:
        std = f"{cell.std:.6g}"
    return f"{cell.mean:.6g}", std, len(cell.values)
