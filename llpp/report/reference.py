"""Published numbers next to those of a report.

LearningLoss++ (Shukla & Ahmed, CVPR Workshops 2021), Table 3: means of 5 repeats after each of 5 stages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llpp.errors import ConfigError
from llpp.report.collect import Cell, Method, Section
from llpp.report.metric import SELECTED_METRIC, TEST_METRIC
from llpp.report.tables import (
    Best,
    Entry,
    Grid,
    GridRow,
    find_best,
    format_counts,
    format_mean,
    format_mean_and_spread,
)

Means = Mapping[str, tuple[float, ...]]  # method → mean after each stage
OurMethods = Mapping[str | None, Sequence[Method]]  # the paper's name, or None for no counterpart → our methods
REPEATS = "5"


@dataclass(frozen=True)
class PublishedTable:
    """One table of a paper, for one of its datasets."""

    dataset: str
    labelled: tuple[int, ...]  # the table's column heads
    selected: Means  # PCK of the sampled images
    test: Means  # PCK on the test images


@dataclass(frozen=True)
class Reference:
    """A paper and its tables."""

    name: str
    tables: Mapping[str, PublishedTable]  # dataset name → its table
    note: str


@dataclass(frozen=True)
class Comparison:
    """Part of a section that shows a reference: grids with a note, or only a note that says why there are none."""

    note: str
    grids: tuple[Grid, ...] = ()


LSP = PublishedTable(
    "LSP",
    (2000, 3000, 4000, 5000, 6000),
    {
        "random": (0.430, 0.527, 0.593, 0.624, 0.645),
        "coreset": (0.288, 0.438, 0.447, 0.493, 0.556),
        "LL": (0.305, 0.253, 0.358, 0.520, 0.617),
        "LL++": (0.250, 0.186, 0.385, 0.533, 0.627),
        "conv": (0.209, 0.214, 0.400, 0.545, 0.635),
    },
    {
        "random": (0.803, 0.818, 0.827, 0.834, 0.841),
        "coreset": (0.797, 0.814, 0.822, 0.831, 0.837),
        "LL": (0.796, 0.814, 0.823, 0.833, 0.842),
        "LL++": (0.798, 0.810, 0.824, 0.831, 0.841),
        "conv": (0.798, 0.813, 0.825, 0.832, 0.840),
    },
)
MPII = PublishedTable(
    "MPII",
    (1000, 2000, 3000, 4000, 5000),
    {
        "random": (0.663, 0.739, 0.766, 0.792, 0.797),
        "coreset": (0.384, 0.522, 0.608, 0.697, 0.755),
        "LL": (0.311, 0.465, 0.621, 0.735, 0.777),
        "LL++": (0.291, 0.439, 0.610, 0.705, 0.762),
        "conv": (0.309, 0.439, 0.603, 0.704, 0.777),
    },
    {
        "random": (0.760, 0.783, 0.803, 0.813, 0.822),
        "coreset": (0.766, 0.792, 0.812, 0.822, 0.830),
        "LL": (0.763, 0.793, 0.814, 0.829, 0.838),
        "LL++": (0.763, 0.791, 0.811, 0.822, 0.827),
        "conv": (0.760, 0.790, 0.808, 0.828, 0.836),
    },
)
PAPER = Reference(
    "LearningLoss++, Table 3",
    {"mpii": MPII, "lsp_lspet": LSP},  # the paper's LSP is LSP and LSPET together
    "These numbers are not directly comparable; compare the order of the methods and the size of the gaps. The "
    "paper's published code measures PCK at 20 thresholds from 0 to 1 (0.2105, 0.4737, 0.5263, …; neither 0.2 nor "
    "0.5 is among them), divides by the full diagonal of the head box on MPII (the standard takes 0.6 of it), counts "
    "visible joints only, and takes a wrong torso for 39 % of the LSPET images, which are those sampled in its LSP "
    "table; its validation images are its test images. Stages stand next to rounds in their order, the first stage "
    "next to round 0, whatever the numbers of labelled images; the paper heads its columns 2,000 to 6,000 for LSP "
    "and 1,000 to 5,000 for MPII. Its standard deviations are 0.003 to 0.036 in (a) and 0.002 to 0.011 in (b). LL is "
    "the ranking objective and LL++ the KL objective, both with the GAP-FC head; conv is LL++ with the multi-scale "
    "convolutional head.",
)  # fmt: skip
SELECTED_TITLE = "(a), PCK of the sampled images: lower finds more failures"
TEST_TITLE = "(b), test score: higher is better"
REFERENCES = {"paper": PAPER}
# objective and head of a selection by predicted loss → the paper's column
PAPER_COLUMNS = {("ranking", "gap_fc"): "LL", ("kl", "gap_fc"): "LL++", ("kl", "multiscale_conv"): "conv"}
# acquisition that predicts no loss → the paper's column
PAPER_BASELINES = {"random": "random", "core_set": "coreset"}


def get_reference(name: str | None) -> Reference | None:
    """Return the reference of this name; None if no name is given.

    Raises:
        ConfigError: an unknown name.
    """
    if name in (None, "null"):
        return None
    reference = REFERENCES.get(str(name))
    if reference is None:
        known = " or ".join(REFERENCES)
        raise ConfigError(f"report.reference={name!r} is invalid; expected {known}, or leave it out")
    return reference


def find_counterpart(method: Method) -> str | None:
    """Return the paper's name for a method; None for one that the paper does not have."""
    run = method.runs[0]
    acquisition = run.get_plug_in("acquisition")
    if acquisition == "predicted_loss":
        return PAPER_COLUMNS.get((run.get_plug_in("objective"), run.get_plug_in("head")))
    return PAPER_BASELINES.get(acquisition)


def compare_with_reference(section: Section, reference: Reference) -> Comparison:
    """Build both parts of the paper's table, with our methods below the paper's methods that they correspond to."""
    table = reference.tables.get(section.dataset_name)
    if table is None:
        return Comparison(f"{reference.name} has no numbers for the dataset {section.dataset_name}.")
    ours: dict[str | None, list[Method]] = {}
    for method in section.methods:
        ours.setdefault(find_counterpart(method), []).append(method)
    count_rows = _build_count_rows(table, ours)
    selected_rows = _build_rows(table.selected, ours, SELECTED_METRIC, "lowest")
    test_rows = _build_rows(table.test, ours, TEST_METRIC, "highest")
    grids = (
        _build_stage_grid(reference, table, SELECTED_TITLE, [*count_rows, *selected_rows]),
        _build_stage_grid(reference, table, TEST_TITLE, [*count_rows, *test_rows]),
    )
    note = reference.note
    unmatched = ", ".join(method.label for method in ours.get(None, ()))
    if unmatched:
        note += f" Without a counterpart in the paper: {unmatched}."
    return Comparison(note, grids)


def _build_stage_grid(reference: Reference, table: PublishedTable, title: str, rows: Sequence[GridRow]) -> Grid:
    """Build a grid with a column per stage of the paper, counted from 1."""
    return Grid(
        title=f"{reference.name} {title} ({table.dataset}), and the runs here",
        note="The best of the paper's means is bold, and the best of those here.",
        columns=tuple(map(str, range(1, len(table.labelled) + 1))),
        rows=tuple(rows),
        corner="stage",
    )


def _build_rows(means: Means, ours: OurMethods, quantity: str, best: Best) -> list[GridRow]:
    """Build a row for each of the paper's methods in its order, followed by rows of our counterparts.

    The best of a column is marked twice: among the paper's means, and among ours.
    """
    their_cells: dict[str, list[Cell | None]] = {}
    our_cells: dict[str, list[Cell | None]] = {}
    for name, stage_means in means.items():
        their_cells[name] = [Cell(mean, None, (mean,), stage) for stage, mean in enumerate(stage_means)]
        for method in ours.get(name, ()):
            our_cells[method.label] = [_get_round_cell(method, quantity, stage) for stage in range(len(stage_means))]
    their_best = _find_best_per_column(their_cells.values(), best)
    our_best = _find_best_per_column(our_cells.values(), best)

    rows: list[GridRow] = []
    for name, cells in their_cells.items():
        rows.append((f"{name} (paper)", REPEATS, _build_entries(cells, their_best)))
        for method in ours.get(name, ()):
            entries = _build_entries(our_cells[method.label], our_best)
            rows.append((f"here: {method.label}", str(len(method.started_runs)), entries))
    return rows


def _find_best_per_column(rows: Iterable[Sequence[Cell | None]], best: Best) -> list[str | None]:
    return [find_best(column, best) for column in zip(*rows, strict=True)]


def _build_entries(cells: Sequence[Cell | None], best_means: Sequence[str | None]) -> tuple[Entry | None, ...]:
    entries: list[Entry | None] = []
    for cell, best_mean in zip(cells, best_means, strict=True):
        if cell is None:
            entries.append(None)
            continue
        entries.append(Entry(format_mean_and_spread(cell), format_mean(cell) == best_mean))
    return tuple(entries)


def _build_count_rows(table: PublishedTable, ours: OurMethods) -> list[GridRow]:
    """Build two rows with the numbers of labelled images at each stage: the paper's, and our counterparts'."""
    published = tuple(map(Entry, format_counts(table.labelled)))
    matched: list[Method] = []
    for name, methods in ours.items():
        if name:
            matched += methods
    entries: list[Entry | None] = []
    for stage in range(len(table.labelled)):
        # Our methods may have started with different numbers of images.
        counts = set()
        for method in matched:
            count = _count_labelled(method, stage)
            if count is not None:
                counts.add(count)
        if counts:
            entries.append(Entry(" or ".join(format_counts(sorted(counts)))))
        else:
            entries.append(None)
    return [("labelled images (paper)", "", published), ("labelled images (here)", "", tuple(entries))]


def _count_labelled(method: Method, number: int) -> int | None:
    """Return the number of labelled images at the beginning of round `number`; None if no seed has committed it."""
    for committed in method.rounds:
        if committed.number == number:
            return int(committed.row["labelled"] or 0)
    return None


def _get_round_cell(method: Method, quantity: str, number: int) -> Cell | None:
    """Return a quantity of a method after round `number`."""
    labelled = _count_labelled(method, number)
    if labelled is None:
        return None
    return method.compute_cell(quantity, labelled)
