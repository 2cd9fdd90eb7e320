"""The report's figures as PNG, for a light and a dark page."""

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llpp.reliability.reliability_bins import measure_reliability
from llpp.reliability.risk_coverage import compute_risk_band, compute_risk_coverage
from llpp.report.collect import Collection, Method, Run, Section
from llpp.report.failure_scores import FailureScores, read_failure_scores
from llpp.report.metric import POOL_METRIC, SELECTED_METRIC, TEST_METRIC
from llpp.report.payoff import explain_missing_payoffs, list_payoffs
from llpp.report.tables import format_counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLUMNS = 3  # panels in a row
DPI = 160
HALF_WIDTH = 6.4  # inches, for half the width of the page
DENSITY_THRESHOLD = 2000  # points above which a scatter plot becomes a density
MIN_MEDIAN_POINTS = 50  # points below which the medians of ten groups would be noise
MAX_INTERVALS = 4  # between numbers below a scatter plot
CHARACTER_WIDTH = 0.095  # inches, of a digit below an axis
MARGIN = 1.0  # inches of a panel's width that its axes leave to the numbers next to them
# Largest value of a logarithmic axis / smallest → multiples of powers of ten to label.
LOG_LABELS = {15.0: (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), 1000.0: (1.0, 2.0, 5.0), np.inf: (1.0,)}
COVERAGES = np.arange(5, 101) / 100  # of a risk–coverage curve: the share of failures among fewer images is noise
MARKERS = "osD^vP"
DASHES = (0, (2.2, 1.4))  # of the pool's line: offset, then ink and gap
FREE_DASHES = (DASHES, (0, (5.5, 1.4, 1.0, 1.4)))  # of what networks say about themselves, in their order


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; those of the methods are Okabe and Ito's colour-blind-safe set, taken by position."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    methods: tuple[str, ...]

    def get_colour(self, position: int) -> str:
        """Return the colour of the method at this position."""
        return self.methods[position % len(self.methods)]


LIGHT = Theme(
    "light", "#ffffff", "#1d2126", "#5c6670", "#e4e7ea",
    ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#b58900", "#56b4e9"),
)  # fmt: skip
DARK = Theme(
    "dark", "#181b20", "#e8eaed", "#a0a8b2", "#2f343b",
    ("#f0803c", "#4aa8e8", "#2cc495", "#e09bc4", "#e8c04a", "#9ad2f5"),
)  # fmt: skip
PlotPanel = Callable[["Axes", Section, Theme, Mapping[str, int]], None]  # the last: method's label → position


def plot_learning_curve(collection: Collection, theme: Theme) -> bytes:
    """Plot the test metric against labelled images; the band is one standard deviation over seeds."""
    return _plot_sections(collection, theme, TEST_METRIC, "Learning curve", _plot_learning_panel)


def _plot_learning_panel(axes: "Axes", section: Section, theme: Theme, positions: Mapping[str, int]) -> None:
    for method in section.methods:
        position = positions[method.label]
        _plot_learning_line(axes, method, theme.get_colour(position), MARKERS[position % len(MARKERS)])
    counts = section.list_label_counts(TEST_METRIC)
    _label_counts(axes, counts, counts)
    axes.set_xlabel("labelled images")
    axes.set_ylabel(f"test {section.get_metric_name('test')}")


def _plot_learning_line(axes: "Axes", method: Method, colour: str, marker: str) -> None:
    counts = []
    means = []
    spreads = []
    for count in method.list_label_counts(TEST_METRIC):
        cell = method.compute_cell(TEST_METRIC, count)
        if cell:
            counts.append(count)
            means.append(cell.mean)
            spreads.append(cell.std or 0.0)
    # Without a spread, as with one seed, there is no band to draw.
    if any(spreads):
        low = np.subtract(means, spreads)
        high = np.add(means, spreads)
        axes.fill_between(counts, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(counts, means, color=colour, marker=marker, markersize=5.5, linewidth=2, label=method.label)


def plot_failure_finding(collection: Collection, theme: Theme) -> bytes:
    """Plot the metric of each selection as bars, seeds as dots, and the pool's as a dashed line over each bar."""
    directions = {section.higher_is_better for section in collection.sections}
    title = "Failure finding"
    if len(directions) == 1:
        title += ": lower is better" if directions == {True} else ": higher is better"
    return _plot_sections(collection, theme, SELECTED_METRIC, title, _plot_selection_panel)


def _plot_selection_panel(axes: "Axes", section: Section, theme: Theme, positions: Mapping[str, int]) -> None:
    counts = section.list_label_counts(SELECTED_METRIC)
    width = 0.8 / len(section.methods)
    middle = (len(section.methods) - 1) / 2
    for index, method in enumerate(section.methods):
        colour = theme.get_colour(positions[method.label])
        _plot_selection_bars(axes, method, counts, (index - middle) * width, width, colour, theme)
    # An empty line, so that the legend explains the dashes once.
    if section.list_label_counts(POOL_METRIC):
        axes.plot([], [], color=theme.ink, linewidth=1.6, linestyle=DASHES, label="pool")
    _label_counts(axes, range(len(counts)), counts)
    axes.set_xlabel("labelled images when selecting")
    axes.set_ylabel(f"{section.get_metric_name('train')} of the selected images")
    axes.set_ylim(bottom=0)


def _plot_selection_bars(
    axes: "Axes", method: Method, counts: Sequence[int], offset: float, width: float, colour: str, theme: Theme
) -> None:
    """Plot a method's bars, one per number of labelled images where it selected; `offset` is that from the tick."""
    xs = []
    means = []
    cells = []
    pools = []
    for tick, count in enumerate(counts):
        cell = method.compute_cell(SELECTED_METRIC, count)
        if cell:
            xs.append(tick + offset)
            means.append(cell.mean)
            cells.append(cell)
            pools.append(method.compute_cell(POOL_METRIC, count))
    axes.bar(xs, means, width * 0.88, color=colour, label=method.label)
    for x, cell, pool in zip(xs, cells, pools, strict=True):
        seeds = len(cell.values)
        if seeds > 1:
            axes.scatter(
                [x] * seeds, cell.values, s=15, zorder=3, color=theme.paper, edgecolors=theme.ink, linewidths=0.9
            )
        if pool:
            span = (x - width * 0.46, x + width * 0.46)
            axes.plot(span, [pool.mean] * 2, color=theme.ink, linewidth=1.6, linestyle=DASHES)


def plot_failure_payoff(collection: Collection, theme: Theme) -> bytes:
    """Plot what each selection gained over random ones against how much harder than the pool it was."""
    return _plot_sections(collection, theme, SELECTED_METRIC, "What finding failures buys", _plot_payoff_panel)


def _plot_payoff_panel(axes: "Axes", section: Section, theme: Theme, positions: Mapping[str, int]) -> None:
    points = list_payoffs(section)
    if not points:
        reason = explain_missing_payoffs(section)
        axes.text(0.5, 0.5, reason, ha="center", va="center", color=theme.muted, transform=axes.transAxes)
        axes.axis("off")
        return
    axes.set_xlabel(f"{section.get_metric_name('train')} of the selected images − pool")
    axes.set_ylabel(f"test {section.get_metric_name('test')} − random")
    axes.axhline(0, color=theme.muted, linewidth=1.2, linestyle=":")
    axes.axvline(0, color=theme.muted, linewidth=1.2, linestyle=":")
    axes.grid(True, axis="x")
    for label in dict.fromkeys(point.label for point in points):
        own = [point for point in points if point.label == label]
        position = positions[label]
        colour = theme.get_colour(position)
        xs = [point.hardness for point in own]
        ys = [point.gain for point in own]
        errors = [point.spread or 0.0 for point in own]
        marker = MARKERS[position % len(MARKERS)]
        axes.errorbar(xs, ys, errors, fmt=marker, color=colour, markersize=6, elinewidth=1.2, label=label)
        for point in own:
            text = f"{point.labelled:,}"
            place = (point.hardness, point.gain)
            axes.annotate(text, place, (5, 4), textcoords="offset points", fontsize=8, color=theme.muted)


def read_test_losses(run: Run, number: int) -> Mapping[str, Any] | None:
    """Read predicted and true losses of the test images after round `number`; None if the file is gone or damaged."""
    return run.read_round_columns(number, "test.parquet", ("predicted_loss", "true_loss"))


def plot_predicted_vs_true(collection: Collection, theme: Theme, number: int = 0) -> bytes:
    """Plot predicted against true loss on the test images after round `number`, a panel per method, first seed."""
    contents = _read_all_test_losses(collection, number)
    positions = _get_positions(collection)
    with _create_figure(theme, len(contents), 4.0) as (figure, panels):
        for axes, (section, method, columns) in zip(panels, contents, strict=True):
            state = method.started_runs[0].state
            # KL compares predictions with log losses, so only there a log scale makes the relation straight.
            log = ".kl." in str(state.result_settings.get("objective._target_", ""))
            _plot_losses(axes, columns, log, theme, theme.get_colour(positions[method.label]))
            title = _wrap_label(method.label, 34)
            if len(collection.sections) > 1:
                title = f"{section.dataset}: {title}"
            # Every title has two lines, also where ρ is unknown.
            title += "\n"
            rho = state.rounds[number].row.get("loss_spearman")
            if rho is not None:
                title += f"Spearman ρ = {rho:.2f}"
            axes.set_title(title)
            axes.set_xlabel("predicted loss")
            axes.set_ylabel("true loss (log scale)" if log else "true loss")
        return _encode_png(figure)


def _read_all_test_losses(collection: Collection, number: int) -> list[tuple[Section, Method, Mapping[str, Any]]]:
    """Read the losses of every method's first seed, leaving out methods whose file is gone or damaged."""
    contents = []
    for section in collection.sections:
        for method in section.started_methods:
            columns = read_test_losses(method.started_runs[0], number)
            if columns:
                contents.append((section, method, columns))
    return contents


def _plot_losses(axes: "Axes", columns: Mapping[str, Any], log: bool, theme: Theme, colour: str) -> None:
    """Plot points, or a density of many, and the median true loss of ten equal groups of predictions."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    predicted = columns["predicted_loss"].astype(float)
    true = columns["true_loss"].astype(float)
    keep = np.isfinite(predicted) & np.isfinite(true)
    if log:
        keep &= true > 0
    predicted = predicted[keep]
    true = true[keep]
    if len(predicted) > DENSITY_THRESHOLD:
        shades = LinearSegmentedColormap.from_list("density", [theme.paper, colour])
        scale: Literal["linear", "log"] = "log" if log else "linear"
        axes.hexbin(predicted, true, gridsize=45, yscale=scale, bins="log", mincnt=1, cmap=shades)
    else:
        axes.scatter(predicted, true, s=16, color=colour, alpha=0.55, linewidths=0)
    if len(predicted) >= MIN_MEDIAN_POINTS:
        predicted_medians = []
        true_medians = []
        for group in np.array_split(np.argsort(predicted, kind="stable"), 10):
            predicted_medians.append(np.median(predicted[group]))
            true_medians.append(np.median(true[group]))
        axes.plot(predicted_medians, true_medians, color=theme.ink, linewidth=1.5)
    # Predictions may need many digits, which more numbers would leave no room for.
    axes.xaxis.set_major_locator(MaxNLocator(MAX_INTERVALS))
    if log and len(true):
        axes.set_yscale("log")
        label_log_axis(axes.yaxis)


def plot_risk_coverage(collection: Collection, theme: Theme) -> bytes:
    """Plot the share of failures among the surest images, a panel per method: last round, first seed."""
    contents = []
    for section, method, scores in _read_all_failure_scores(collection):
        if scores.has_both:
            contents.append((section, method, scores))
    positions = _get_positions(collection)
    with _create_figure(theme, len(contents), 4.5) as (figure, panels):
        for axes, (section, method, scores) in zip(panels, contents, strict=True):
            _plot_risks(axes, scores, theme, theme.get_colour(positions[method.label]))
            axes.set_title(_title_panel(collection, section, method), pad=12)
            axes.set_xlabel("accepted images, the surest first (%)")
            axes.set_ylabel("failures (%)")
            _add_legend_below(axes)
        return _encode_png(figure)


def _read_all_failure_scores(collection: Collection) -> list[tuple[Section, Method, FailureScores]]:
    """Read the last scores of every method's first seed, leaving out methods whose file is gone or damaged."""
    contents = []
    for section in collection.sections:
        for method in section.started_methods:
            run = method.started_runs[0]
            scores = read_failure_scores(run, run.state.rounds[-1].number)
            if scores is not None:
                contents.append((section, method, scores))
    return contents


def _title_panel(collection: Collection, section: Section, method: Method) -> str:
    """Return the method's name, with its dataset where there are several."""
    title = _wrap_label(method.label, 34)
    return f"{section.dataset}: {title}" if len(collection.sections) > 1 else title


def _plot_risks(axes: "Axes", scores: FailureScores, theme: Theme, colour: str) -> None:
    """Plot risk against coverage for all rankings, with a band around that by predicted loss."""
    failed = scores.failed
    low, high = compute_risk_band(scores.predicted, failed, COVERAGES)
    axes.fill_between(100 * COVERAGES, 100 * low, 100 * high, color=colour, alpha=0.16, linewidth=0)
    lines: list[tuple[str, Any, dict[str, Any]]] = [
        ("predicted loss", scores.predicted, {"color": colour, "linewidth": 2}),
        ("true loss", scores.true, {"color": theme.muted, "linewidth": 1.2}),
        ("chance", np.zeros(len(failed)), {"color": theme.muted, "linewidth": 1.2, "linestyle": ":"}),
    ]
    free: list[tuple[str, Any, dict[str, Any]]] = []
    for position, (name, doubt) in enumerate(scores.doubts.items()):
        dashes = FREE_DASHES[position % len(FREE_DASHES)]
        free.append((f"own {name}", doubt, {"color": theme.ink, "linewidth": 1.6, "linestyle": dashes}))
    if scores.ranked is not None and scores.ranker not in scores.doubts:
        free.append((scores.ranker, scores.ranked, {"color": theme.ink, "linewidth": 1.6}))
    lines[1:1] = free
    for label, score, style in lines:
        curve = compute_risk_coverage(score, failed)
        risks = [100 * curve.get_risk_at(coverage) for coverage in COVERAGES]
        axes.plot(100 * COVERAGES, risks, label=label, **style)
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)


def plot_reliability(collection: Collection, theme: Theme) -> bytes:
    """Plot how often images failed against the probability of it, a panel per method: last round, first seed."""
    contents = []
    for section, method, scores in _read_all_failure_scores(collection):
        bins = measure_reliability(scores.calibration)
        if bins is not None:
            contents.append((section, method, bins))
    positions = _get_positions(collection)
    with _create_figure(theme, len(contents), 4.5) as (figure, panels):
        for axes, (section, method, bins) in zip(panels, contents, strict=True):
            colour = theme.get_colour(positions[method.label])
            axes.plot([0, 100], [0, 100], color=theme.muted, linewidth=1.2, linestyle=":", label="as it should be")
            errors = (100 * (bins.share - bins.low), 100 * (bins.high - bins.share))
            label = "test images, in equal groups"
            style: dict[str, Any] = {"color": colour, "fmt": "o", "markersize": 5.5, "elinewidth": 1.4}
            axes.errorbar(100 * bins.probability, 100 * bins.share, errors, label=label, **style)
            title = _title_panel(collection, section, method)
            axes.set_title(f"{title}\noff by {100 * bins.mean_gap:.1f} points on average", pad=12)
            axes.set_xlabel("probability of failure (%)")
            axes.set_ylabel("failures (%)")
            axes.set_xlim(-3, 103)
            axes.set_ylim(-3, 103)
            _add_legend_below(axes)
        return _encode_png(figure)


def label_log_axis(axis: "Axis") -> None:
    """Label a logarithmic axis, on which everything is plotted already, with plain numbers, however narrow it is."""
    from matplotlib.ticker import LogLocator

    low, high = axis.get_view_interval()
    # Powers of ten alone would leave a narrow range almost without labels.
    for ratio, multiples in LOG_LABELS.items():
        if high / low < ratio:
            # With several multiples but none in sight, the locator takes those of a linear axis.
            axis.set_major_locator(LogLocator(subs=multiples))
            break
    # The usual labels, powers of ten, need the mathematical text that `_build_style` switches off.
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def _label_counts(axes: "Axes", positions: Sequence[float], counts: Sequence[int]) -> None:
    """Label ticks with numbers of images; those for which there is no room have no label."""
    labels = format_counts(counts)
    figure = axes.get_figure(root=True)
    grid = axes.get_subplotspec()
    if figure is None or grid is None or not labels:
        return
    panel = figure.get_figwidth() / grid.get_gridspec().ncols - MARGIN
    span = max(positions) - min(positions)
    kept: list[int] = []
    for index, label in enumerate(labels):
        width = CHARACTER_WIDTH * (len(label) + 1) * span / panel
        has_room = not kept or positions[index] - positions[kept[-1]] >= width
        if index == len(labels) - 1 and not has_room and len(kept) > 1:
            # The last number says how far the run went.
            kept.pop()
            has_room = True
        if has_room:
            kept.append(index)
    axes.set_xticks([positions[index] for index in kept], [labels[index] for index in kept])


def _plot_sections(collection: Collection, theme: Theme, quantity: str, title: str, plot_panel: PlotPanel) -> bytes:
    """Plot one panel per section that knows the quantity."""
    sections = [section for section in collection.sections if section.list_label_counts(quantity)]
    positions = _get_positions(collection)
    with _create_figure(theme, len(sections), 4.5) as (figure, panels):
        for axes, section in zip(panels, sections, strict=True):
            plot_panel(axes, section, theme, positions)
            panel_title = title
            if len(collection.sections) > 1:
                panel_title += f" · {section.dataset}"
            axes.set_title(panel_title, pad=12)
            _add_legend_below(axes)
        return _encode_png(figure)


def _get_positions(collection: Collection) -> dict[str, int]:
    """Return method's label → position, which gives its colour and marker in every figure."""
    return {label: position for position, label in enumerate(collection.labels)}


def _add_legend_below(axes: "Axes") -> None:
    """Put all names under the panel, where no bar or line can hide them."""
    handles, labels = axes.get_legend_handles_labels()
    names = [_wrap_label(label, 60) for label in labels]
    # Some 60 characters fit in a row; a name's line and its margins take as much as 8.
    longest = max(map(len, names), default=0)
    columns = max(1, min(len(names), 60 // (8 + longest)))
    axes.legend(handles, names, loc="upper left", bbox_to_anchor=(-0.02, -0.15), ncols=columns, columnspacing=1.4)


def _wrap_label(label: str, width: int) -> str:
    """Break a long label into at most three lines."""
    lines = textwrap.wrap(label, width)
    wrapped = "\n".join(lines[:3])
    if len(lines) > 3:
        wrapped += "…"
    return wrapped


@contextmanager
def _create_figure(theme: Theme, count: int, height: float) -> "Iterator[tuple[Figure, Sequence[Axes]]]":
    """Create a figure with `count` panels of `height` inches; with no panel, a figure that says so."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The style is needed while the panels are filled and saved, too, so the caller works inside the context.
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
            panels[0].text(0.5, 0.5, "no round has what this shows", ha="center", va="center", color=theme.muted)
        yield figure, panels[:count]


def _build_style(theme: Theme) -> Any:
    """Return matplotlib's settings for a theme."""
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
    """Return a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
