"""The lines of `python -m benchmarks`, as the table of RESULTS.md: reads files or standard input, prints Markdown."""

import argparse
import fileinput
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HEAD = ("command", "row", "value", "ratio", "limit", "goal (must / reach)", "date", "commit")
# row → what has to be reached, and what is hoped for; ratios are over the row's baseline
GOALS: Mapping[str, tuple[str, str]] = {
    "training_step_bf16 (tuned allocator)": ("2.0 ×; 45 % of the limit", "2.6 ×; 55 %"),
    "training_step_bf16_as_shipped": ("3.0 ×", "3.7 ×"),
    "training_step_bf16_32ch_64px (default allocator)": ("1.5 ×", "1.8 ×"),
    "training_step_bf16_64ch_128px (default allocator)": ("1.5 ×", "1.8 ×"),
    "scoring_bf16_folded (tuned allocator)": ("3.2 ×; 60 % of the limit", "4 ×; 80 %"),
    "scoring_bf16_frozen (tuned allocator)": ("3.2 ×; 60 % of the limit", "4 ×; 80 %"),
    "scoring_bf16_frozen_as_shipped": ("5.3 ×", "7 ×"),
    "data_pipeline_float": ("1.25 ×", "1.5 ×"),
    "data_pipeline_float_720p": ("1.7 ×", "2 ×"),
    "data_pipeline_cached": ("2,500 images/s", "3,000 images/s"),
    "peak_memory_training_16_bf16": ("0.6 of the baseline, 1.67 ×", "0.5, 2 ×"),
    "peak_memory_training_16_bf16_kept": ("0.6 of the baseline, 1.67 ×", "0.5, 2 ×"),
    "core_set_isotropic": ("15 ×", "25 ×"),
    "core_set_rank_16": ("15 ×", "25 ×"),
    "core_set_1m_isotropic": ("20 s", "10 s"),
    "core_set_1m_rank_16": ("20 s", "10 s"),
    "pck_20_thresholds": ("2 ms", "1 ms"),
    "demo": ("240 s", "120 s"),
    "start_help": ("0.3 s", "0.2 s"),
    "start_run_help": ("0.3 s", "0.2 s"),
    "start_config_error": ("0.3 s", "0.2 s"),
    "start_config_error_name": ("0.3 s", "0.2 s"),
    "start_config_error_composed": ("0.3 s", "0.2 s"),
    "start_training_ready": ("0.91 ×", "1 ×"),
}


def format_number(value: float, digits: int = 4) -> str:
    """1,234, 12.34 or 0.001234."""
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def format_cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of the table; ~ marks a measurement that other work disturbed."""
    detail: Mapping[str, Any] = line["detail"]
    known = detail.get("allocator", "")  # the rows as shipped say it in their name
    allocator = f" ({known} allocator)" if known and " " not in known else ""
    name = f"{line['name']}{allocator}"
    ratio = "–" if line["ratio"] is None else f"{format_number(line['ratio'], 3)} × {line['baseline']}"
    shares = [f"{share:.0%}".replace("%", " %") for key, share in detail.items() if key.startswith("of_")]
    return (
        f"`{line.get('command', '')}`",
        name + " ~" * (detail.get("quiet") is False),
        f"{format_number(line['value'])} {line['unit']}",
        ratio,
        ", ".join(shares) or "–",
        " / ".join(GOALS[name]) if name in GOALS else "–",
        line["date"],
        line["commit"],
    )


def format_table(lines: Iterable[Mapping[str, Any]]) -> str:
    """All rows, below the machines that they come from."""
    found = list(lines)
    rows: Sequence[Sequence[str]] = [
        HEAD,
        ["---", "---", "---:", "---", "---:", "---", "---", "---"],
        *map(format_cells, found),
    ]
    machines = dict.fromkeys(line["machine"] for line in found)
    return f"Measured on {'; '.join(machines)}.\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """The last line of a name counts, so that files of several runs can be given, the latest last."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("files", nargs="*", help="lines of JSON; none: standard input")
    with fileinput.input(parser.parse_args().files, encoding="utf-8") as text:
        lines = [json.loads(line) for line in text if line.startswith("{")]
    latest = {(line["name"], line["detail"].get("allocator")): line for line in lines}
    print(format_table(latest.values()))


if __name__ == "__main__":
    main()
