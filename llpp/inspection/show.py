"""Printing the tables and problems of a dataset, and writing its contact sheets."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llpp.console import TableConsole
from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import SPLITS, AnyDataset
from llpp.errors import DataError
from llpp.inspection import facts
from llpp.inspection.image_sizes import describe_orientations, measure_images
from llpp.inspection.problems import find_problems, summarise_unusable_files
from llpp.inspection.sheet import draw_contact_sheet
from llpp.report.files import write_bytes
from llpp.tasks.base import Listing, Task

GROUND_TRUTH = "these boxes are ground truth: a real unlabelled pool has none and would need a person detector"


def show_dataset(
    task: Task,
    crop: PersonCrop,
    output: Path,
    *,
    samples: int,
    seed: int,
    decode: bool,
    flip: float = 0.0,
    console: Console | None = None,
) -> int:
    """Print the tables and draw one sheet per split into `output`.

    Args:
        task: with its dataset, whose images may be missing.
        crop: cuts the crops of the sheets, as in evaluation.
        output: folder for `<split>.png`; created if it does not exist.
        samples: records per sheet; 0 draws no sheets.
        seed: chooses the records.
        decode: read every image instead of only looking for its file.
        flip: share of the training images that a run would mirror.
        console: where to print.

    Returns:
        The number of problems found.

    Raises:
        StateError: `output` cannot be written to.
    """
    console = console or TableConsole()
    _print_tables(console, task, crop)
    problems = find_problems(task, decode, flip)
    if _has_images(task.dataset):
        unusable = _print_measurements(console, task)
        if not decode:
            problems += summarise_unusable_files(unusable)
        if samples:
            unreadable = _write_sheets(task, crop, output, samples, seed, console)
            problems += [problem for problem in unreadable if problem not in unusable]
    # Several persons of one unreadable image give the same sentence.
    for problem in dict.fromkeys(problems):
        _print_lines(console, f"problem: {problem}", style="bold red")
    if task.dataset.paths and not decode:
        hint = "of image files only the first bytes were read; use --decode to read every image"
        _print_lines(console, hint, style="dim")
    return len(problems)


def _print_tables(console: Console, task: Task, crop: PersonCrop) -> None:
    """Print the headline, the tables with their remarks, and the lines about boxes and the dataset's notes."""
    _print_lines(console, facts.format_headline(task), style="bold")
    for listing in (facts.tabulate_splits(task), *task.tabulate_labels()):
        console.print(_build_rich_table(listing))
        _print_lines(console, *listing.remarks)
    lines = facts.describe_boxes(task, crop.padding)
    records = task.dataset.records
    if records.ground_truth_boxes:
        lines.append(GROUND_TRUTH)
    _print_lines(console, "", *lines, *records.notes, "")


def _print_measurements(console: Console, task: Task) -> list[str]:
    """Print what the sizes of the image files say; return why some of the files cannot be used."""
    if not task.dataset.paths:
        return []
    measured = measure_images(task.dataset)
    _print_lines(console, *describe_orientations(measured), *task.describe_positions(measured.sizes))
    return measured.problems


def _has_images(dataset: AnyDataset) -> bool:
    try:
        dataset.check()
    except DataError:
        return False
    return True


def _write_sheets(task: Task, crop: PersonCrop, output: Path, samples: int, seed: int, console: Console) -> list[str]:
    """Write a sheet per split, and return the problems of images that cannot be read."""
    problems: list[str] = []
    for split in SPLITS:
        if not len(task.dataset.records.select_rows(split)):
            continue
        sheet = draw_contact_sheet(task, split, crop, samples, seed)
        if sheet is None:
            continue
        path = output / f"{split}.png"
        write_bytes(path, sheet.png, "the contact sheets")
        problems += sheet.problems
        _print_lines(console, f"{len(sheet.shown)} {split} {task.record_word} are drawn in {path}")
    return problems


def _print_lines(console: Console, *lines: str, style: str = "") -> None:
    """Print lines unwrapped: a path that is broken in two cannot be copied."""
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _build_rich_table(listing: Listing) -> Table:
    table = Table(title=Text(listing.title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    name_column, *number_columns = listing.columns
    table.add_column(name_column, justify="left", overflow="fold")
    for column in number_columns:
        table.add_column(column, justify="right", overflow="fold")
    for row in listing.rows:
        # Text, not str, in which Rich would look for markup.
        cells = [Text(cell) for cell in row]
        table.add_row(*cells)
    return table
