"""Prints what there is to know about a dataset, and writes its contact sheets."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import SPLITS
from llpp.datasets.pose import PoseDataset
from llpp.errors import DataError
from llpp.inspection import facts
from llpp.inspection.problems import find_problems
from llpp.inspection.sheet import draw_contact_sheet
from llpp.report.files import write_bytes
from llpp.tasks.pose.pck import PCKDefinition

GROUND_TRUTH = "these boxes are ground truth: a real unlabelled pool has none and would need a person detector"


def show_dataset(
    dataset: PoseDataset,
    crop: PersonCrop,
    pck: PCKDefinition,
    output: Path,
    *,
    samples: int,
    seed: int,
    decode: bool,
    console: Console | None = None,
) -> int:
    """Print the tables and draw one sheet per split into `output`.

    Args:
        dataset: its images may be missing.
        crop: as evaluation cuts.
        pck: the measure of a run.
        output: folder for `<split>.png`; made if it is missing.
        samples: persons per sheet; 0 draws none.
        seed: chooses them.
        decode: read every image instead of looking for its file.
        console: where to print.

    Returns:
        The number of problems found.

    Raises:
        StateError: `output` cannot be written to.
    """
    console = console or Console()
    lines = facts.describe_boxes(dataset, crop.padding)
    if dataset.records.ground_truth_boxes:
        lines.append(GROUND_TRUTH)
    _print_lines(console, facts.format_headline(dataset), style="bold")
    for listing in (
        facts.tabulate_splits(dataset),
        facts.tabulate_joints(dataset),
        facts.tabulate_normalisers(dataset, pck),
    ):
        console.print(_build_rich_table(listing))
        _print_lines(console, *listing.remarks)
    _print_lines(console, "", *lines, *dataset.records.notes, "")
    found = find_problems(dataset, pck, decode)
    if samples and _has_images(dataset):
        found += _write_sheets(dataset, crop, output, samples, seed, console)
    _print_lines(console, *(f"problem: {problem}" for problem in dict.fromkeys(found)), style="bold red")
    if dataset.paths and not decode:
        _print_lines(console, "image files were looked for, not read; --decode reads every one", style="dim")
    return len(found)


def _has_images(dataset: PoseDataset) -> bool:
    try:
        dataset.check()
    except DataError:
        return False
    return True


def _write_sheets(
    dataset: PoseDataset, crop: PersonCrop, output: Path, samples: int, seed: int, console: Console
) -> list[str]:
    """Write a sheet per split; what could not be read."""
    found: list[str] = []
    for split in SPLITS:
        sheet = (
            draw_contact_sheet(dataset, split, crop, samples, seed)
            if len(dataset.records.select_rows(split))
            else None
        )
        if sheet is not None:
            path = output / f"{split}.png"
            write_bytes(path, sheet.png, "the contact sheets")
            found += sheet.problems
            _print_lines(console, f"{len(sheet.shown)} {split} persons are drawn in {path}")
    return found


def _print_lines(console: Console, *lines: str, style: str = "") -> None:
    """Lines as they are: a path that is broken in two cannot be copied."""
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _build_rich_table(listing: facts.Listing) -> Table:
    shown = Table(title=Text(listing.title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(listing.columns):
        shown.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in listing.rows:
        shown.add_row(*map(Text, row))
    return shown
