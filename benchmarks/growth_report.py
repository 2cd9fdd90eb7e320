"""The figure and the table of docs/scaling.md that `benchmarks.growth` measures."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scaling_report import format_bytes, format_duration, format_markdown_table, open_figure, render_png
from llpp.files import replace_file, replace_text
from llpp.report.figures import LIGHT as THEME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = Mapping[str, Any]
AXES = {
    "pool": "unlabelled images", "labelled": "labelled images", "size": "image side, pixels", "stacks": "stacks",
    "workers": "workers",
}  # fmt: skip
TITLES = {
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
POWERS = {"training_by_size": 2, "scoring_by_size": 2}  # of what grows, by mathematics; others: 1


def write(folder: Path, parts: Mapping[str, Sequence[Line]]) -> None:
    """Write scaling_growth.png into `folder`, and the table between scaling.md's markers."""
    picture = draw_panels(parts)
    replace_file(folder / "scaling_growth.png", lambda part: _save(part, picture))
    page = folder / "scaling.md"
    found = re.compile(r"(?<=<!-- growth -->\n).*?(?=<!-- /growth -->)", re.DOTALL)
    text = found.sub(lambda _: f"\n{format_growth_table(parts)}\n\n", page.read_text(encoding="utf-8"))
    replace_text(page, text)


def _save(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def draw_panels(parts: Mapping[str, Sequence[Line]]) -> bytes:
    """Seconds above, memory below, one column for each thing that grows; dashed: what the mathematics asks for."""
    with open_figure(2, len(AXES), height=3.4) as (figure, all_axes):
        for column, (axis, label) in enumerate(AXES.items()):
            seconds, memory = all_axes[column], all_axes[column + len(AXES)]
            shown = {part: lines for part, lines in parts.items() if lines[0]["detail"]["axis"] == axis}
            for (part, lines), colour in zip(shown.items(), THEME.methods, strict=False):
                x = [line["detail"]["size"] for line in lines]
                y = [line["value"] for line in lines]
                seconds.plot(x, y, marker="o", color=colour, label=TITLES[part])
                if axis != "workers":
                    seconds.plot(x, extrapolate(part, x, y), color=colour, linestyle="--", linewidth=1)
                memory.plot(x, [line["detail"]["bytes"] / 1e6 for line in lines], marker="o", color=colour)
            sizes = sorted({line["detail"]["size"] for lines in shown.values() for line in lines})
            _set_scales(seconds, axis, sizes, logarithmic=axis != "workers")
            _set_scales(memory, axis, sizes, logarithmic=axis in ("pool", "size"))
            seconds.legend(loc="lower left", bbox_to_anchor=(-0.1, 1.0), fontsize=8)
            memory.set_xlabel(label)
        all_axes[0].set_ylabel("seconds")
        all_axes[len(AXES)].set_ylabel("memory, MB")
        return render_png(figure)


def extrapolate(part: str, x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Through the largest measurement, with the power that the mathematics asks for."""
    return [y[-1] * (value / x[-1]) ** POWERS.get(part, 1) for value in x]


def _set_scales(axes: "Axes", axis: str, values: Sequence[int], logarithmic: bool) -> None:
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


def format_growth_table(parts: Mapping[str, Sequence[Line]]) -> str:
    """Every measurement, and what it grew by."""
    rows = []
    for part, lines in parts.items():
        for before, line in zip([None, *lines], lines, strict=False):
            detail = line["detail"]
            factors = ["–", "–"]
            if before is not None and before["detail"]["size"]:
                factors = [
                    f"{detail['size'] / before['detail']['size']:.3g} ×",
                    f"{line['value'] / before['value']:.2g} ×",
                ]
            rows.append(
                (TITLES[part], f"{AXES[detail['axis']]}: {detail['size']:,}", format_duration(line["value"]),
                 format_bytes(detail["bytes"]), *factors)
            )  # fmt: skip
    return format_markdown_table(("part", "size", "time", "memory", "size grew", "time grew"), rows)
