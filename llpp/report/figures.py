"""The report's figures as PNG, for a light and a dark page."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llpp.report.collect import Cell, Collection, Method, Run, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3  # panels beside each other
DPI = 160
HALF_WIDTH = 6.4  # inches, for half the width of the page
DENSITY_THRESHOLD = 2000  # points above which a scatter plot becomes a density
MARKERS = "osD^vP"


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; methods take theirs by position, from Okabe and Ito's colour-blind-safe set."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    methods: tuple[str, ...]

    def get_colour(self, position: int) -> str:
        """A method's colour."""
        return self.methods[position % len(self.methods)]


LIGHT = Theme(
    "light", "#ffffff", "#1d2126", "#5c6670", "#e4e7ea",
    ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#b58900", "#56b4e9"),
)  # fmt: skip
DARK = Theme(
    "dark", "#181b20", "#e8eaed", "#a0a8b2", "#2f343b",
    ("#f0803c", "#4aa8e8", "#2cc495", "#e09bc4", "#e8c04a", "#9ad2f5"),
)  # fmt: skip


def plot_learning_curve(collection: Collection, theme: Theme) -> bytes:
    """Test PCK against labelled images; the band is one standard deviation over seeds."""

    def plot_panel(axes: "Axes", section: Section, colours: Mapping[str, int]) -> None:
        for method in section.methods:
            counts, cells = _collect_series(method, "test_pck")
            mean = np.array([cell.mean for cell in cells])
            spread = np.array([cell.std or 0.0 for cell in cells])
            position = colours[method.label]
            colour = theme.get_colour(position)
            if spread.any():
                axes.fill_between(counts, mean - spread, mean + spread, color=colour, alpha=0.16, linewidth=0)
            marker = MARKERS[position % len(MARKERS)]
            axes.plot(counts, mean, color=colour, marker=marker, markersize=5.5, linewidth=2, label=method.label)
        axes.set_xticks(section.list_label_counts("test_pck"))
        axes.set_xlabel("labelled images")
        axes.set_ylabel(f"test {section.get_metric_name('test')}")

    return _plot_sections(collection, theme, "test_pck", "Learning curve", plot_panel)


def plot_failure_finding(collection: Collection, theme: Theme) -> bytes:
    """PCK of each selection as bars, seeds as dots, and the pool's PCK as a dashed line over each bar."""

    def plot_panel(axes: "Axes", section: Section, colours: Mapping[str, int]) -> None:
        counts = section.list_label_counts("selected_pck")
        width = 0.8 / len(section.methods)
        for place, method in enumerate(section.methods):
            known = [(x, c) for x, n in enumerate(counts) if (c := method.compute_cell("selected_pck", n))]
            xs = np.array([x for x, _ in known]) + (place - (len(section.methods) - 1) / 2) * width
            colour = theme.get_colour(colours[method.label])
            axes.bar(xs, [c.mean for _, c in known], width * 0.88, color=colour, label=method.label)
            for x, (number, cell) in zip(xs, known, strict=True):
                if len(cell.values) > 1:
                    dots = [x] * len(cell.values), cell.values
                    axes.scatter(*dots, s=15, zorder=3, color=theme.paper, edgecolors=theme.ink, linewidths=0.9)
                if pool := method.compute_cell("pool_pck", counts[number]):
                    span = (x - width * 0.46, x + width * 0.46)
                    axes.plot(span, [pool.mean] * 2, color=theme.ink, linewidth=1.6, linestyle=(0, (2.2, 1.4)))
        if section.list_label_counts("pool_pck"):
            axes.plot([], [], color=theme.ink, linewidth=1.6, linestyle=(0, (2.2, 1.4)), label="pool")
        axes.set_xticks(range(len(counts)), [f"{n:,}" for n in counts])
        axes.set_xlabel("labelled images when selecting")
        axes.set_ylabel(f"{section.get_metric_name('train')} of the selected images")
        axes.set_ylim(bottom=0)

    return _plot_sections(collection, theme, "selected_pck", "Failure finding: lower is better", plot_panel)


def read_test_losses(run: Run, number: int) -> Mapping[str, Any] | None:
    """Predicted and true losses of the test images after round `number`; None where the file is gone or damaged."""
    return run.read_round_columns(number, "test.parquet", ("predicted_loss", "true_loss"))


def plot_predicted_vs_true(collection: Collection, theme: Theme, number: int = 0) -> bytes:
    """Predicted against true loss on the test images after round `number`, a panel per method, first seed."""
    found = []
    for section in collection.sections:
        for method in section.methods:
            columns = read_test_losses(method.started_runs[0], number) if method.started_runs else None
            if columns:
                found.append((section, method, columns))
    colours = {label: position for position, label in enumerate(collection.labels)}
    with _create_figure(theme, len(found), 4.0) as (figure, panels):
        for axes, (section, method, columns) in zip(panels, found, strict=True):
            # KL compares predictions with log losses, so only there a log scale makes the relation straight.
            log = ".kl." in str(method.started_runs[0].state.science.get("objective._target_", ""))
            _plot_losses(axes, columns, log, theme, theme.get_colour(colours[method.label]))
            rho = method.started_runs[0].state.rounds[number].row.get("loss_spearman")
            several = f"{section.dataset}: " if len(collection.sections) > 1 else ""
            known = "" if rho is None else f"Spearman ρ = {rho:.2f}"
            axes.set_title(f"{several}{_wrap_label(method.label, 34)}\n{known}")
            axes.set_xlabel("predicted loss")
            axes.set_ylabel("true loss (log scale)" if log else "true loss")
        return _encode_png(figure)


def _plot_losses(axes: "Axes", columns: Mapping[str, Any], log: bool, theme: Theme, colour: str) -> None:
    """Points, or a density of many, and the median true loss of ten equal groups of predictions."""
    from matplotlib.colors import LinearSegmentedColormap

    x, y = columns["predicted_loss"].astype(float), columns["true_loss"].astype(float)
    keep = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not log))
    x, y = x[keep], y[keep]
    if log and len(y):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # the usual powers of ten need the mathematics switched off below
        axes.yaxis.set_minor_formatter("")
    if len(x) > DENSITY_THRESHOLD:
        shades = LinearSegmentedColormap.from_list("density", [theme.paper, colour])
        axes.hexbin(x, y, gridsize=45, yscale="log" if log else "linear", bins="log", mincnt=1, cmap=shades)
    else:
        axes.scatter(x, y, s=16, color=colour, alpha=0.55, linewidths=0)
    if len(x) >= 50:
        groups = np.array_split(np.argsort(x, kind="stable"), 10)
        middle = [(np.median(x[g]), np.median(y[g])) for g in groups]
        axes.plot(*zip(*middle, strict=True), color=theme.ink, linewidth=1.5)


def _collect_series(method: Method, quantity: str) -> tuple[list[int], list[Cell]]:
    counts = method.list_label_counts(quantity)
    return counts, [cell for n in counts if (cell := method.compute_cell(quantity, n))]


def _plot_sections(collection: Collection, theme: Theme, quantity: str, title: str, panel: Any) -> bytes:
    sections = [s for s in collection.sections if s.list_label_counts(quantity)]
    colours = {label: position for position, label in enumerate(collection.labels)}
    with _create_figure(theme, len(sections), 4.5) as (figure, panels):
        for axes, section in zip(panels, sections, strict=True):
            panel(axes, section, colours)
            axes.set_title(title if len(collection.sections) == 1 else f"{title} · {section.dataset}", pad=12)
            _add_legend_below(axes)
        return _encode_png(figure)


def _add_legend_below(axes: "Axes") -> None:
    """All names under the panel, where no bar or line can hide them."""
    handles, labels = axes.get_legend_handles_labels()
    names = [_wrap_label(label, 60) for label in labels]
    columns = max(1, min(len(names), 60 // (8 + max(map(len, names), default=0))))
    axes.legend(handles, names, loc="upper left", bbox_to_anchor=(-0.02, -0.15), ncols=columns, columnspacing=1.4)


def _wrap_label(label: str, width: int) -> str:
    """A long label in at most three lines."""
    lines = textwrap.wrap(label, width)
    return "\n".join(lines[:3]) + ("…" if len(lines) > 3 else "")


@contextmanager
def _create_figure(theme: Theme, count: int, height: float) -> "Iterator[tuple[Figure, Sequence[Axes]]]":
    """A figure with `count` panels of `height` inches; with none, one that says so."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_build_style(theme)):
        columns = min(max(count, 1), COLUMNS)
        rows = max(-(-count // columns), 1)
        width = HALF_WIDTH if columns == 1 else 2 * HALF_WIDTH
        figure = Figure(figsize=(width, height * rows), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for spare in panels[count:]:
            spare.axis("off")
        if not count:
            panels[0].text(0.5, 0.5, "no round has measured this yet", ha="center", va="center", color=theme.muted)
        yield figure, panels[:count]


def _build_style(theme: Theme) -> Any:
    return {
        "text.parse_math": False,  # a run's name may hold a dollar sign
        "font.size": 11, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "legend.fontsize": 10, "legend.frameon": False,
        "figure.facecolor": theme.paper, "axes.facecolor": theme.paper, "savefig.facecolor": theme.paper,
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.titlecolor": theme.ink,
        "xtick.color": theme.muted, "ytick.color": theme.muted, "axes.edgecolor": theme.grid,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
        "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True,
        "grid.color": theme.grid, "grid.linewidth": 0.8, "xtick.major.size": 0, "ytick.major.size": 0,
        "ytick.minor.size": 0,
    }  # fmt: skip


def _encode_png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
