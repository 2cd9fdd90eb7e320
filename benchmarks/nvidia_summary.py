"""The table of a GPU's results, as it is in RESULTS.md."""

from collections.abc import Iterable, Mapping
from typing import Any

AIMS = {  # name of a row, or its beginning → what was to be reached: must / reach
    "training_": "2,000 / 3,000",
    "scoring_": "8,000 / 12,000",
    "run_step_": "0.9 of the step",
    "core_set": "0.35 / 0.1 s",
    "first_step_": "3 s",
}
# What is said of a row besides its value: key of its details → words around it.
REMARKS = {
    "first_step_s": "first step {:.3g} s",
    "first_batch_s": "first batch {:.3g} s",
    "difference_to_eager": "{:.1g} from eager losses",
    "from_host_s": "{:.3g} s from the host",
    "differing_positions": "{} picks differ from the CPU's",
    "times_one_run": "{:.3g} times one run",
}
SHARES = ("of_conv_ceiling", "of_copy_ceiling_by_counted_traffic")
HEADER = """\
| row | value | of the fastest convolution | of the copy rate | aim (must / reach) |
|:--|--:|--:|--:|--:|"""


def format_summary(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return results as a table in Markdown, without those of kernels; rows that failed give their reason."""
    rows = [HEADER]
    for line in lines:
        name = line["name"].removeprefix("nvidia_").removeprefix("rehearsal_")
        if name.startswith("kernels_"):
            continue
        detail = line.get("detail", {})
        cells = [name, _format_value(name, line, detail)]
        for key in SHARES:
            cells.append(f"{detail[key]:.0%}" if key in detail else "")
        cells.append(_find_aim(name))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _format_value(name: str, line: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    if line["value"] is None:
        kind = "error" if "error" in line else "skipped"
        reason = line[kind].replace("|", "/")  # a bar would end the cell
        return f"{kind}: {reason}"
    words = [f"{_format_number(line['value'])} {line['unit']}"]
    if line["ratio"] is not None:
        words.append(f"{line['ratio']:.2f} of the step")
    for key, remark in REMARKS.items():
        if key in detail:
            words.append(remark.format(detail[key]))
    if "images_per_s" in detail:
        words.append(f"then {_format_number(detail['images_per_s'])} images/s")
    for key, value in detail.items():
        if key.startswith("seconds_"):
            words.append(f"{key.removeprefix('seconds_')} {value:.3g}")
    if "command_s" in detail:
        words.append(f"the command {detail['command_s']:.3g} s")
    return ", ".join(words)


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _find_aim(name: str) -> str:
    for beginning, aim in AIMS.items():
        if name.startswith(beginning):
            return aim
    return ""
