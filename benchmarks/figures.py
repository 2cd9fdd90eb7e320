"""The figures and the table of docs/scaling.md."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.scaling_model import Fit, Projection
from llpp.analysis.figures import STYLE as ANALYSIS
from llpp.files import replace_file, replace_text
from llpp.report.figures import DPI
from llpp.report.figures import LIGHT as THEME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Parts = Mapping[str, Sequence[Mapping[str, Any]]]  # lines of benchmarks.growth
STYLE: Any = ANALYSIS | {"font.size": 10, "axes.titlesize": 11, "legend.fontsize": 9, "lines.linewidth": 1.6}
# part of the model → what it grows with, and the panel's title
FITS = {
    "records": ("N", "check ids, once"),
    "pool": ("N", "labelled and unlabelled rows"),
    "select": ("N", "the highest predicted losses"),
    "write_scores": ("N", "scores.parquet"),
    "commit": ("L", "state.json"),
    "places": ("N", "places of all ranks"),
    "hand_over": ("bytes", "scores to the first rank"),
    "core_set": ("N·D", "core-set"),
}
GROWTH_AXES = {
    "pool": "unlabelled images",
    "labelled": "labelled images",
    "size": "image side, pixels",
    "stacks": "stacks",
    "workers": "workers",
}
GROWTH_TITLES = {
    "bookkeeping": "bookkeeping of a round",
    "core_set": "core-set, 256 dimensions",
    "scoring": "scoring, tiny network, 32 pixels",
    "bookkeeping_of_labelled": "bookkeeping of a round, pool of 200,000",
    "training": "training, an epoch, small network",
    "training_by_size": "training, an epoch of 128 images",
    "scoring_by_size": "scoring 256 images",
    "training_by_stacks": "training, an epoch of 128 images",
    "scoring_by_stacks": "scoring 256 images",
    "loading": "loading 1,024 crops of 256 pixels",
}
TABLE_HEAD = (
    "images × GPUs",
    "pool images per second of a round",
    "training",
    "scoring",
    "all else",
    "round",
    "core-set adds",
)


def draw_fits(fits: Mapping[str, Fit]) -> bytes:
    """Draw measured seconds over each part's size, with the model; the largest size is the one held out."""
    with open_figure(2, 4, height=3.1) as (figure, panels):
        for axes, (part, (size, title)) in zip(panels, FITS.items(), strict=True):
            fit = fits[part]
            x = np.array([fit.terms[size](sizes) for sizes, _ in fit.samples])
            measured = [value for _, value in fit.samples]
            modelled = [fit(**sizes) for sizes, _ in fit.samples]
            axes.scatter(x, measured, s=30, color=THEME.methods[1], zorder=3, label="measured")
            label = f"held out, error {fit.error:+.0%}"
            ring = THEME.methods[0]
            axes.scatter(x[-1:], measured[-1:], s=90, facecolors="none", edgecolors=ring, zorder=4, label=label)
            axes.plot(x, modelled, color=THEME.ink, linestyle="--", linewidth=1.2, label="model")
            axes.loglog()
            axes.xaxis.set_minor_formatter("")
            axes.yaxis.set_minor_formatter("")
            axes.set_title(title)
            axes.set_xlabel(size)
            axes.legend(loc="upper left")
        for axes in panels[::4]:
            axes.set_ylabel("seconds")
        return render_png(figure)


def draw_growth(parts: Parts) -> bytes:
    """Draw seconds above and memory below, one column for each thing that grows; dashed: the expected growth."""
    columns = len(GROWTH_AXES)
    with open_figure(2, columns, height=3.4) as (figure, panels):
        for column, (axis, label) in enumerate(GROWTH_AXES.items()):
            seconds = panels[column]
            memory = panels[column + columns]
            shown = [part for part, lines in parts.items() if lines[0]["detail"]["axis"] == axis]
            ticks: set[float] = set()
            for part, colour in zip(shown, THEME.methods, strict=False):
                x, y, memory_bytes = read_growth(parts[part])
                ticks.update(x)
                seconds.plot(x, y, marker="o", color=colour, label=GROWTH_TITLES[part])
                if axis != "workers":
                    # A straight line through the largest measurement, on logarithmic axes.
                    power = 2 if axis == "size" else 1
                    expected = y[-1] * (np.array(x) / x[-1]) ** power
                    seconds.plot(x, expected, color=colour, linestyle="--", linewidth=1)
                memory.plot(x, np.array(memory_bytes) / 1e6, marker="o", color=colour)
            _set_scales(seconds, axis, sorted(ticks), logarithmic=axis != "workers")
            _set_scales(memory, axis, sorted(ticks), logarithmic=axis in ("pool", "size"))
            seconds.legend(loc="lower left", bbox_to_anchor=(-0.1, 1.0), fontsize=8)
            memory.set_xlabel(label)
        panels[0].set_ylabel("seconds")
        panels[columns].set_ylabel("memory, MB")
        return render_png(figure)


def read_growth(lines: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float], list[float]]:
    """Return the sizes, seconds and bytes of a part."""
    details = [line["detail"] for line in lines]
    sizes = [detail["size"] for detail in details]
    memory = [detail["bytes"] for detail in details]
    return sizes, [line["value"] for line in lines], memory


def _set_scales(axes: "Axes", axis: str, values: Sequence[float], logarithmic: bool) -> None:
    if axis != "workers":
        axes.set_xscale("log")
    if axis not in ("pool", "labelled"):
        axes.set_xticks(values, [str(value) for value in values])
        axes.xaxis.set_minor_formatter("")
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(bottom=0)


@contextmanager
def open_figure(rows: int, columns: int, height: float) -> "Iterator[tuple[Figure, Sequence[Axes]]]":
    """Yield a figure and its panels, row by row; `height` is a row's, in inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14.0, height * rows), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def render_png(figure: "Figure") -> bytes:
    """Return the content of a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def save_png(path: Path, content: bytes) -> None:
    """Replace a picture whole or not at all."""

    def write(part: Path) -> None:
        part.write_bytes(content)

    replace_file(path, write)


def write_rounds_table(page: Path, projections: Sequence[Projection]) -> None:
    """Write the table of rounds between the markers <!-- time --> and <!-- /time --> of scaling.md."""
    rows = [TABLE_HEAD, ["---", *["---:"] * (len(TABLE_HEAD) - 1)]]
    for projection in projections:
        train = projection.seconds["train"]
        score = projection.seconds["score"]
        rest = projection.total - train - score
        core_set = sum(projection.core_set.values())
        durations = [train, score, rest, projection.total, core_set]
        rows.append(
            [
                f"{format_count(projection.images)} × {projection.gpus}",
                format_count(projection.images / projection.total),
                *(format_duration(seconds) for seconds in durations),
            ]
        )
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    section = re.compile("(?<=<!-- time -->\n).*?(?=<!-- /time -->)", re.DOTALL)
    replace_text(page, section.sub(f"\n{table}\n\n", page.read_text(encoding="utf-8")))


def format_count(value: float) -> str:
    """Write 12,300 or 100 M."""
    if value >= 1e6:
        return f"{value / 1e6:,.4g} M"
    return f"{float(f'{value:.3g}'):,.0f}"


def format_duration(seconds: float) -> str:
    """Write seconds, minutes, hours or days."""
    for unit, scale, least in (("d", 86400, 172800), ("h", 3600, 7200), ("min", 60, 180)):
        if seconds >= least:
            return f"{seconds / scale:.3g} {unit}"
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s"
