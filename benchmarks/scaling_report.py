"""The figures and tables of docs/scaling.md."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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

PANELS = {
    "records": ("N", "check ids, once"),
    "pool": ("N", "labelled and unlabelled rows"),
    "select": ("N", "the highest predicted losses"),
    "write_scores": ("N", "scores.parquet"),
    "commit": ("L", "state.json"),
    "places": ("N", "places of all ranks"),
    "hand_over": ("bytes", "scores to the first rank"),
    "core_set": ("N·D", "core-set"),
}
STAGES = {
    "train": "training (assumed rate)",
    "score": "scoring (assumed rate)",
    "checkpoints": "checkpoints",
    "places": "places of all ranks",
    "hand_over": "handing scores over",
    "bookkeeping": "bookkeeping",
}
STYLE: Any = ANALYSIS | {"font.size": 10, "axes.titlesize": 11, "legend.fontsize": 9, "lines.linewidth": 1.6}


def write(folder: Path, fits: Mapping[str, Fit], projections: Sequence[Projection]) -> None:
    """Write scaling_fits.png and scaling_time.png into `folder`, and the tables between scaling.md's markers."""
    for name, picture in (("fits", draw_fits(fits)), ("time", draw_stages(projections))):
        replace_file(folder / f"scaling_{name}.png", lambda part, picture=picture: _save(part, picture))  # type: ignore[misc]
    page = folder / "scaling.md"
    text = page.read_text(encoding="utf-8")
    for name, table in format_tables(projections, fits).items():
        found = re.compile(f"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        text = found.sub(lambda _, table=table: f"\n{table}\n\n", text)  # type: ignore[misc]
    replace_text(page, text)


def _save(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def draw_fits(fits: Mapping[str, Fit]) -> bytes:
    """Measured seconds against each part's own size, with the model; the largest size is the one held out."""
    with open_figure(2, 4) as (figure, panels):
        for axes, (part, (size, title)) in zip(panels, PANELS.items(), strict=True):
            fit = fits[part]
            x = np.array([fit.terms[size](sizes) for sizes, _ in fit.samples])
            said = [fit(**sizes) for sizes, _ in fit.samples]
            axes.scatter(x, [v for _, v in fit.samples], s=30, color=THEME.methods[1], zorder=3, label="measured")
            axes.scatter(
                x[-1:],
                [fit.samples[-1][1]],
                s=90,
                facecolors="none",
                edgecolors=THEME.methods[0],
                zorder=4,
                label=f"held out, error {fit.error:+.0%}",
            )
            axes.plot(x, said, color=THEME.ink, linestyle="--", linewidth=1.2, label="model")
            axes.loglog()
            for side in (axes.xaxis, axes.yaxis):
                side.set_minor_formatter("")
            axes.set_title(title)
            axes.set_xlabel(size)
            axes.legend(loc="upper left")
        for axes in panels[::4]:
            axes.set_ylabel("seconds")
        return render_png(figure)


def draw_stages(projections: Sequence[Projection]) -> bytes:
    """Where the hours of a round go."""
    with open_figure(1, 2, height=4.4) as (figure, panels):
        _draw_bars(panels[0], projections, STAGES, lambda p: p.seconds)
        panels[0].set_title("Predicted loss: share of a round")
        _draw_bars(
            panels[1],
            projections,
            {
                "train": "training (assumed rate)",
                "score": "scoring (assumed rate)",
                "select": "selecting, first rank",
                "hand_over": "handing embeddings over",
                "rest": "all else",
            },
            _add_core_set,
        )
        panels[1].set_title("Core-set: share of a round")
        return render_png(figure)


def _add_core_set(found: Projection) -> dict[str, float]:
    rest = found.total - found.seconds["train"] - found.seconds["score"]
    return {**found.core_set, "train": found.seconds["train"], "score": found.seconds["score"], "rest": rest}


def _draw_bars(
    axes: "Axes",
    projections: Sequence[Projection],
    names: Mapping[str, str],
    of: Callable[[Projection], dict[str, float]],
) -> None:
    left = np.zeros(len(projections))
    totals = np.array([sum(of(p)[name] for name in names) for p in projections])
    for (name, label), colour in zip(names.items(), THEME.methods, strict=False):
        share = np.array([of(p)[name] for p in projections]) / totals
        axes.barh(range(len(projections)), share, left=left, color=colour, label=label)
        left += share
    shown = [
        f"{format_count(p.images)} × {p.gpus}: {format_duration(t)}" for p, t in zip(projections, totals, strict=True)
    ]
    axes.set_yticks(range(len(projections)), shown)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the round's seconds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=2)


def format_tables(projections: Sequence[Projection], fits: Mapping[str, Fit]) -> dict[str, str]:
    """All tables by name, as Markdown."""
    return {
        "time": format_markdown_table(
            ("images × GPUs", "scored images/s", "training", "scoring", "all else", "round", "core-set adds"),
            [
                (
                    _format_size(p),
                    format_count(p.images / p.total),
                    format_duration(p.seconds["train"]),
                    format_duration(p.seconds["score"]),
                    format_duration(p.total - p.seconds["train"] - p.seconds["score"]),
                    format_duration(p.total),
                    format_duration(sum(p.core_set.values())),
                )
                for p in projections
            ],
        ),
        "serial": format_markdown_table(
            (
                "images × GPUs",
                "checkpoints",
                "places",
                "handing over",
                "bookkeeping",
                "core-set: selecting",
                "… handing over",
            ),
            [
                (
                    _format_size(p),
                    *(format_duration(p.seconds[n]) for n in ("checkpoints", "places", "hand_over", "bookkeeping")),
                    *(format_duration(p.core_set[n]) for n in ("select", "hand_over")),
                )
                for p in projections
            ],
        ),
        "network": format_markdown_table(
            ("images × GPUs", "gradients", "BatchNorm", "pairs", "weights", "scores", "ids", "core-set adds"),
            [
                (
                    _format_size(p),
                    *(
                        format_bytes(p.network[n])
                        for n in ("gradients", "batch_norm", "pairs", "weights", "scores", "ids", "embeddings")
                    ),
                )
                for p in projections
            ],
        ),
        "memory": format_markdown_table(
            (
                "images × GPUs",
                "first rank",
                "each other",
                "eight ranks of a machine",
                "core-set adds, first rank",
                "while it reads COCO JSON, each",
            ),
            [
                (
                    _format_size(p),
                    format_bytes(p.memory["first"]),
                    format_bytes(p.memory["other"]) if p.gpus > 1 else "–",
                    format_bytes(_sum_machine_memory(p)),
                    format_bytes(p.memory["embeddings"]),
                    format_bytes(p.memory["reader"]),
                )
                for p in projections
            ],
        ),
        "disk": format_markdown_table(
            ("images", "state.json", "scores.parquet", "checkpoint", "core-set's column"),
            [
                (
                    format_count(p.images),
                    *(format_bytes(p.disk[n]) for n in ("state", "scores", "checkpoint", "column")),
                )
                for p in projections
                if p.gpus == 64
            ],
        ),
        "once": format_markdown_table(
            ("images × GPUs", "check every image", "check ids, digest", "read COCO JSON"),
            [
                (_format_size(p), *(format_duration(p.once[n]) for n in ("check", "records", "reader")))
                for p in projections
            ],
        ),
        "models": format_markdown_table(
            ("part", "constant", "per", "largest measured", "error there, held out"),
            [
                (
                    part,
                    f"{fit.factors[0]:.3g}",
                    ", ".join(f"{f:.3g} × {t}" for f, t in zip(fit.factors[1:], fit.terms, strict=True)),
                    f"{fit.samples[-1][1]:.3g}",
                    f"{fit.error:+.0%}",
                )
                for part, fit in fits.items()
            ],
        ),
    }


def _sum_machine_memory(found: Projection) -> float:
    ranks = min(8, found.gpus)
    return found.memory["first"] + (ranks - 1) * found.memory["other"]


def format_markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _format_size(found: Projection) -> str:
    return f"{format_count(found.images)} × {found.gpus}"


def format_count(value: float) -> str:
    """12,300 or 100 M."""
    return f"{value / 1e6:,.4g} M" if value >= 1e6 else f"{float(f'{value:.3g}'):,.0f}"


def format_bytes(value: float) -> str:
    """Bytes in decimal units."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f}"


def format_duration(seconds: float) -> str:
    """Seconds, minutes, hours or days."""
    for unit, scale, least in (("d", 86400, 172800), ("h", 3600, 7200), ("min", 60, 180)):
        if seconds >= least:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"


@contextmanager
def open_figure(rows: int, columns: int, height: float = 3.1) -> "Iterator[tuple[Figure, Sequence[Axes]]]":
    """A figure and its panels, row by row."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14.0, height * rows), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def render_png(figure: "Figure") -> bytes:
    """The content of a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
