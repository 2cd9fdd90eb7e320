"""Published numbers beside a report's own.

LearningLoss++ (Shukla & Ahmed, CVPR Workshops 2021), Table 3: means of 5 repeats after each of 5 stages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llpp.errors import ConfigError
from llpp.report.collect import Cell, Method, Section
from llpp.report.tables import Best, Entry, Grid, GridRow, find_best, format_counts, format_mean_and_spread

Means = Mapping[str, tuple[float, ...]]  # method → mean after each stage
OurMethods = Mapping[str | None, Sequence[Method]]  # the paper's name → our methods
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
    """A paper."""

    name: str
    tables: Mapping[str, PublishedTable]  # what a dataset's ids begin with → its table
    note: str


@dataclass(frozen=True)
class Comparison:
    """What a section shows of a reference: grids with a note, or a sentence why there are none."""

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
    "table; its validation images are its test images. Stages stand beside rounds in their order, the first stage "
    "beside round 0, whatever the numbers of labelled images; the paper heads its columns 2,000 to 6,000 for LSP and "
    "1,000 to 5,000 for MPII. Its standard deviations are 0.003 to 0.036 in (a) and 0.002 to 0.011 in (b). LL is the "
    "ranking objective and LL++ the KL objective, both with the GAP-FC head; conv is LL++ with the multi-scale "
    "convolutional head.",
)  # fmt: skip
REFERENCES = {"paper": PAPER}
# objective and head of a selection by predicted loss → the paper's column
PAPER_COLUMNS = {("ranking", "gap_fc"): "LL", ("kl", "gap_fc"): "LL++", ("kl", "multiscale_conv"): "conv"}


def get_reference(name: str | None) -> Reference | None:
    """The reference of this name; None for none, ConfigError for an unknown one."""
    if name in (None, "null"):
        return None
    if found := REFERENCES.get(str(name)):
        return found
    raise ConfigError(f"report.reference={name!r} is not known; use {' or '.join(REFERENCES)}, or leave it out")


def find_counterpart(method: Method) -> str | None:
    """The paper's name for a method; None for one that it does not have."""
    acquisition, objective, head = map(method.runs[0].get_plug_in, ("acquisition", "objective", "head"))
    if acquisition == "predicted_loss":
        return PAPER_COLUMNS.get((objective, head))
    return {"random": "random", "core_set": "coreset"}.get(acquisition)


def compare_with_reference(section: Section, reference: Reference) -> Comparison:
    """Both parts of the paper's table, each of its methods with ours below it."""
    table = reference.tables.get(section.dataset_name)
    if table is None:
        return Comparison(f"{reference.name} has no numbers for the dataset {section.dataset_name}.")
    ours: dict[str | None, list[Method]] = {}
    for method in section.methods:
        ours.setdefault(find_counterpart(method), []).append(method)
    without = ", ".join(method.label for method in ours.get(None, ()))
    heads = tuple(str(stage + 1) for stage in range(len(table.labelled)))
    counts = _build_count_rows(table, ours)
    parts: tuple[tuple[str, str, Means, Best], ...] = (
        ("(a), PCK of the sampled images: lower finds more failures", "selected_pck", table.selected, "lowest"),
        ("(b), test score: higher is better", "test_pck", table.test, "highest"),
    )
    grids = [
        Grid(
            f"{reference.name} {title} ({table.dataset}), and the runs here",
            "The best of the paper's means is bold, and the best of those here.",
            heads, (*counts, *_build_rows(means, ours, quantity, best)), corner="stage",
        )
        for title, quantity, means, best in parts
    ]  # fmt: skip
    note = reference.note + (f" Without a counterpart in the paper: {without}." if without else "")
    return Comparison(note, tuple(grids))


def _build_rows(means: Means, ours: OurMethods, quantity: str, best: Best) -> tuple[GridRow, ...]:
    """The paper's methods in its order, each above its counterparts."""
    theirs = {name: [Cell(mean, None, (mean,), stage) for stage, mean in enumerate(m)] for name, m in means.items()}
    mine = {
        method.label: [_get_round_cell(method, quantity, stage) for stage in range(len(means[name]))]
        for name in means
        for method in ours.get(name, ())
    }
    bests = [[find_best(column, best) for column in zip(*side.values(), strict=True)] for side in (theirs, mine)]
    rows: list[GridRow] = []
    for name, cells in theirs.items():
        rows.append((f"{name} (paper)", REPEATS, _build_entries(cells, bests[0])))
        for method in ours.get(name, ()):
            rows.append(
                (f"here: {method.label}", str(len(method.started_runs)), _build_entries(mine[method.label], bests[1]))
            )
    return tuple(rows)


def _build_count_rows(table: PublishedTable, ours: OurMethods) -> list[GridRow]:
    """The numbers of labelled images that either side gives for its stages."""
    matched = [method for name, methods in ours.items() if name for method in methods]
    cells: list[Entry | None] = []
    for stage in range(len(table.labelled)):
        found = {n for method in matched if (n := _count_labelled(method, stage)) is not None}
        cells.append(Entry(" or ".join(format_counts(sorted(found)))) if found else None)
    published = tuple(Entry(count) for count in format_counts(table.labelled))
    return [("labelled images (paper)", "", published), ("labelled images (here)", "", tuple(cells))]


def _build_entries(cells: Sequence[Cell | None], bests: Sequence[str | None]) -> tuple[Entry | None, ...]:
    return tuple(
        Entry(format_mean_and_spread(cell), f"{cell.mean:.3f}" == won) if cell else None
        for cell, won in zip(cells, bests, strict=True)
    )


def _count_labelled(method: Method, number: int) -> int | None:
    """Labelled images at the beginning of a round."""
    return next((int(r.row["labelled"] or 0) for r in method.rounds if r.number == number), None)


def _get_round_cell(method: Method, quantity: str, number: int) -> Cell | None:
    labelled = _count_labelled(method, number)
    return None if labelled is None else method.compute_cell(quantity, labelled)
