"""The files of a report, and its page, which shows all of them."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llpp.errors import LlppError
from llpp.pages.rendering import make_environment
from llpp.report import figures
from llpp.report.claims import CONSTANT_FILE
from llpp.report.collect import Collection, Section, collect
from llpp.report.differences import NOTE, build_difference_grids, explain_missing_intervals, format_differences_csv
from llpp.report.facts import describe_progress, list_box_warnings, list_settings, list_skipped_images, tabulate_times
from llpp.report.failure_scores import build_failure_grids, read_failure_scores
from llpp.report.files import write_bytes
from llpp.report.gallery import Gallery, TileBudget, build_gallery, plan_tiles
from llpp.report.hidden_differences import list_hidden_differences
from llpp.report.markdown import format_markdown
from llpp.report.metric import IMAGE_METRIC, TEST_FILE
from llpp.report.reference import Comparison, Reference, compare_with_reference
from llpp.report.stopping import NOTE as STOPPING_NOTE
from llpp.report.stopping import Limits, build_audit_grids, build_stopping_grids
from llpp.report.summary import list_learning_warnings, summarise_section
from llpp.report.tables import Grid, build_main_grids, build_ranking_grids, build_threshold_grids, format_tidy_csv
from llpp.tasks.base import Task

LoadTask = Callable[[Path], Task]  # run directory → its task, with its dataset
FIGURES = {
    "failure_finding": (
        figures.plot_failure_finding,
        "{metric} of the images that each selection chose (dots: seeds), next to all unlabelled ones that were "
        "scored. A method that finds failures stays far {worse} the dashed line.",
    ),
    "failure_payoff": (
        figures.plot_failure_payoff,
        "What finding failures buys: {metric} of the images that a selection chose minus that of the pool, against "
        "what the model trained on them gains in test {metric} over random selections of as many images. A point per "
        "selection, the mean over seeds, with the standard deviation of the gain; numbers are labelled images after "
        "it. Selections far {worse} the pool found failures, and those above the line were worth their labels.",
    ),
    "learning_curve": (
        figures.plot_learning_curve,
        "{metric} on the test images against the number of labelled images. "
        "The band is one standard deviation over seeds.",
    ),
    "predicted_vs_true": (
        figures.plot_predicted_vs_true,
        "What the loss head predicted for the test images after the first round, against the loss they turned out "
        "to have (first seed). A rising cloud means that the head knows which images will fail; "
        "the line joins the medians of ten equal groups.",
    ),
    "risk_coverage": (
        figures.plot_risk_coverage,
        "How many of the test images fail that the last round's model seems sure of, if only the surest are accepted "
        "(first seed; the band is the 95 % interval of a bootstrap over images). A lower line finds failures better. "
        "The network's own confidence is the mean maximum of its heatmaps, or the probability of the class that it "
        "chose; its distinctness is how unlike each other its heatmaps are: neither needs a loss head. The true loss "
        "is what nobody has without labels.",
    ),
    "reliability": (
        figures.plot_reliability,
        "Whether the probability of failure that belongs to a predicted loss is true: the share of test images that "
        "failed, with its exact 95 % interval, by the probability that was said of them (last round, first seed). "
        "Of each group one image counts. The curve from loss to probability was fitted to the other four fifths.",
    ),
}
PER_METHOD = ("predicted_vs_true", "risk_coverage", "reliability")  # figures with a panel for each method


@dataclass(frozen=True)
class Picture:
    """A figure for both themes, base64 PNG."""

    title: str
    caption: str
    light: str
    dark: str
    wide: bool


@dataclass(frozen=True)
class Part:
    """Everything that the page shows of one section."""

    section: Section
    summary: str
    main: list[Grid]
    differences: list[Grid]
    too_few: str | None
    comparison: Comparison | None
    more: list[Grid]
    ranking: list[Grid]
    failures: list[Grid]
    audits: list[Grid]
    stopping: list[Grid]
    settings: list[tuple[str, str]]
    warnings: list[str]
    gallery: Gallery | None
    gallery_note: str | None
    times: tuple[list[str], list[tuple[str, list[str]]]]
    progress: list[tuple[str, list[tuple[str, str, str]]]]
    skipped: list[tuple[str, str]]
    configs: list[tuple[str, str]]


def write_report(
    folders: Sequence[Path],
    output: Path,
    load_task: LoadTask,
    reference: Reference | None = None,
    limits: Limits | None = None,
) -> Path:
    """Write tables, figures and the page about all runs under `folders` into the folder `output`.

    Args:
        folders: run directories, or folders that hold some at any depth.
        output: gets report.html, table.md, table.csv, differences.csv and a PNG of each figure; created if missing.
        load_task: run directory → its task and dataset, for the gallery; may raise LlppError.
        reference: published numbers to show next to those of the runs.
        limits: for the rules that say when labelling could have stopped; None: as the configs of the runs say.

    Returns:
        The path of report.html.

    Raises:
        ConfigError: a folder without a run, or with failed jobs only.
        StateError: a damaged run, or an output folder that cannot be written to.
    """
    collection = collect(folders)
    write_bytes(output / "table.md", format_markdown(collection, reference, limits).encode())
    write_bytes(output / "table.csv", format_tidy_csv(collection).encode())
    write_bytes(output / "differences.csv", format_differences_csv(collection).encode())
    pictures = [_draw_picture(collection, name, output) for name in FIGURES]
    page = output / "report.html"
    write_bytes(page, _render_html(collection, pictures, load_task, reference, limits).encode())
    return page


def _draw_picture(collection: Collection, name: str, output: Path) -> Picture:
    """Draw a figure for both themes, and write the light one to a file."""
    draw, caption = FIGURES[name]
    light = draw(collection, figures.LIGHT)
    dark = draw(collection, figures.DARK)
    write_bytes(output / f"{name}.png", light)
    # Figures with a panel per section or per method need the width of the page.
    wide = len(collection.sections) > 1
    if name in PER_METHOD:
        wide = wide or len(collection.labels) > 1
    metrics = dict.fromkeys(section.metric_title for section in collection.sections)
    sides = dict.fromkeys("below" if section.higher_is_better else "above" for section in collection.sections)
    caption = caption.format(metric=" or ".join(metrics), worse=" or ".join(sides))
    return Picture(name.replace("_", " "), caption, _encode_base64(light), _encode_base64(dark), wide)


def _encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _render_html(
    collection: Collection,
    pictures: list[Picture],
    load_task: LoadTask,
    reference: Reference | None,
    limits: Limits | None,
) -> str:
    figures_size = sum(len(picture.light) + len(picture.dark) for picture in pictures)
    budget = plan_tiles(collection, figures_size)
    parts = []
    for number, section in enumerate(collection.sections):
        parts.append(_build_part(section, load_task, budget, f"images{number + 1}", reference, limits))
    template = make_environment(Path(__file__).parent).get_template("report.html.j2")
    return template.render(
        parts=parts,
        pictures=pictures,
        difference_note=NOTE,
        stopping_note=STOPPING_NOTE,
        copies=collection.copies,
        failures=collection.failures,
    )


def describe_damage(section: Section) -> Iterator[str]:
    """Yield a sentence about each table that a figure or a claim needs and that is not as its round wrote it."""
    for method in section.started_methods:
        run = method.started_runs[0]
        if run.has_round_file(0, TEST_FILE) and figures.read_test_losses(run, 0) is None:
            path = run.get_round_path(0, TEST_FILE)
            yield f"{path} is missing or damaged; the figure of predicted and true losses leaves {method.label} out."
        last = len(run.state.rounds) - 1
        if last and run.has_round_file(last, TEST_FILE) and read_failure_scores(run, last) is None:
            path = run.get_round_path(last, TEST_FILE)
            yield f"{path} is missing or damaged; the figures of failures leave {method.label} out."
        for run in method.started_runs:
            number = len(run.state.rounds) - 1
            is_there = run.has_round_file(number, CONSTANT_FILE)
            if is_there and run.read_round_columns(number, CONSTANT_FILE, ("id", IMAGE_METRIC)) is None:
                path = run.get_round_path(number, CONSTANT_FILE)
                yield f"{path} is missing or damaged; {method.label} is not held against a constant prediction."


def _build_part(
    section: Section,
    load_task: LoadTask,
    budget: TileBudget,
    key: str,
    reference: Reference | None,
    limits: Limits | None,
) -> Part:
    """Build everything that the page shows of a section; its viewer is called `key`."""
    task, gallery_note = _load_task(section, load_task)
    dataset = task.dataset if task else None
    gallery = None
    if not budget.tiles:
        gallery_note = (
            "The gallery is left out: so many selections would not fit on one page. Report fewer runs to see it."
        )
    elif task:
        gallery = build_gallery(section, task, budget, key)
    comparison = None
    if reference:
        comparison = compare_with_reference(section, reference)
    progress = []
    configs = []
    for method in section.methods:
        progress.append((method.label, describe_progress(method)))
        configs.append((method.label, method.runs[0].text))
    skipped = list_skipped_images(section)
    return Part(
        section=section,
        summary=summarise_section(section),
        main=build_main_grids(section),
        differences=build_difference_grids(section),
        too_few=explain_missing_intervals(section),
        comparison=comparison,
        more=build_threshold_grids(section),
        ranking=build_ranking_grids(section),
        failures=build_failure_grids(section),
        audits=build_audit_grids(section),
        stopping=build_stopping_grids(section, limits),
        settings=list_settings(section, task, len(skipped)),
        warnings=[
            *list_learning_warnings(section),
            *list_hidden_differences(section),
            *list_box_warnings(dataset),
            *describe_damage(section),
        ],
        gallery=gallery,
        gallery_note=gallery_note,
        times=tabulate_times(section),
        progress=progress,
        skipped=skipped,
        configs=configs,
    )


def _load_task(section: Section, load_task: LoadTask) -> tuple[Task | None, str | None]:
    """Load a section's task and dataset; where that fails, return None and the reason."""
    try:
        return load_task(section.first_run.folder), None
    except LlppError as error:
        return None, f"The gallery is left out because the dataset could not be read: {error}"
