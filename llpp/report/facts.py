"""The facts behind the numbers: settings, progress, skipped images and time."""

from collections.abc import Mapping
from typing import Any

from llpp.datasets.base import SPLITS, AnyDataset
from llpp.errors import StateError
from llpp.journal.agreement import FILE as AGREEMENT
from llpp.journal.agreement import read_distances
from llpp.journal.snapshot import count_changed_labels, read_snapshot
from llpp.report.collect import Method, Run, Section
from llpp.report.tables import format_counts, format_number_of, list_validation_counts
from llpp.run_dir.round_dir import LABELS
from llpp.tasks.base import Task

COMMON_SETTINGS = {
    "rounds": "rounds",
    "initial": "labelled at the start",
    "budget": "selected per round",
    "training.init": "weights a round starts from",
    "training.weights": "weights that are tested",
    "seed": "seeds",
}
BOX_SOURCES = {"joints": "joints", "annotation": "annotated boxes"}  # others are annotations of another kind
SECONDS_PREFIX = "seconds_"  # followed by a phase of a round
Facts = list[tuple[str, str]]  # names and values, as they are shown


def list_settings(section: Section, task: Task | None, skipped: int) -> Facts:
    """Return name and value of the settings that a reader should know first."""
    dataset = task.dataset if task else None
    crop = section.first_run.config.get("crop") or {}
    return [
        ("dataset", section.dataset),
        *_describe_dataset(task),
        *_describe_common_settings(section),
        *_describe_metrics(section),
        ("crop", f"{crop.get('size', 'unknown')} px"),
        *_describe_label_counts(section),
        ("images skipped", f"{skipped:,}"),
        *_describe_run_histories(section),
        *_describe_notes(dataset),
    ]


def _describe_dataset(task: Task | None) -> Facts:
    if task is None:
        return []
    records = task.dataset.records
    sizes = []
    for split in SPLITS:
        rows = records.select_rows(split)
        sizes.append(f"{len(rows):,} {split}")
    return [(task.record_word, ", ".join(sizes)), ("boxes from", records.box_source)]


def _describe_common_settings(section: Section) -> Facts:
    """Return each of COMMON_SETTINGS with all values that it has in the section."""
    facts = []
    for key, name in COMMON_SETTINGS.items():
        values = {_look_up(run.config, key) for run in section.runs}
        words = map(str, sorted(values, key=_sort_key))
        facts.append((name, ", ".join(words)))
    return facts


def _look_up(config: Mapping[str, Any], name: str) -> Any:
    """Return the setting `name`, as training.init, of a nested config; None where it is not there."""
    *sections, key = name.split(".")
    for section in sections:
        config = config.get(section) or {}
    return config.get(key)


def _describe_metrics(section: Section) -> Facts:
    """Return the names of the metrics on test and on selected images, which may be one, and the normaliser."""
    test = section.get_metric_name("test")
    train = section.get_metric_name("train")
    facts = [("metric", _mark_estimate(test))]
    if train != test:
        facts.append(("metric of selected images", _mark_estimate(train)))
    if section.normaliser is not None:
        facts.append(("its normaliser", section.normaliser))
    return facts


def _mark_estimate(name: str) -> str:
    if "~" not in name:
        return name
    return f"{name} (~: its normaliser is an estimate)"


def _describe_label_counts(section: Section) -> Facts:
    """Return the number of test images that the metric leaves out, and the labels spent on validation."""
    facts = []
    undefined = [int(committed.row.get("test_undefined") or 0) for committed in section.rounds]
    if undefined and section.normaliser is not None:
        facts.append(
            ("test images without that normaliser", f"{max(undefined):,} (left out of {section.metric_title})")
        )
    validation_counts = list_validation_counts(section)
    if validation_counts:
        facts.append(("labels spent on validation", ", ".join(format_counts(validation_counts))))
    return facts


def _describe_run_histories(section: Section) -> Facts:
    """Return the runs that moved to another machine, and the runs whose pool grew."""
    facts = []
    for run in section.runs:
        places = _describe_machines(run)
        if len(places) > 1:
            facts.append(("places", f"{_describe_run(run)}: {', then '.join(places)}"))
        facts += _describe_labelling(run)
        for growth in run.state.grown:
            words = f"by {growth.added:,} images before round {growth.round} of {_describe_run(run)}"
            facts.append(("the pool grew", words))
        redrawn = run.state.redrawn
        if redrawn is not None and redrawn < len(run.state.rounds):
            words = f"from round {redrawn} of {_describe_run(run)} on, as an older llpp began it"
            facts.append(("other random augmentation", words))
    return facts


def _describe_labelling(run: Run) -> Facts:
    """Return what people did between the rounds of a run whose labels they give; nothing for other runs."""
    facts = []
    before = None
    for committed in run.state.rounds:
        if LABELS not in committed.files:
            continue
        try:
            snapshot = read_snapshot(run.get_round_path(committed.number, LABELS))
        except StateError:
            # A file that is gone later explains nothing, and the measurements are those of the round.
            before = None
            continue
        changed = 0 if before is None else count_changed_labels(before, snapshot)
        if changed:
            words = f"{changed:,} changed since round {committed.number - 1} of {_describe_run(run)}"
            facts.append(("labels", words))
        before = snapshot
    if run.state.rounds:
        distances = read_distances(run.get_round_path(run.state.rounds[-1].number, AGREEMENT))
        if distances:
            words = ", ".join(f"{joint} {100 * value:.1f} %" for joint, value in distances.items())
            facts.append(("two annotators are apart by, of torso or box", f"{words} ({_describe_run(run)})"))
    return facts


def _describe_run(run: Run) -> str:
    return f"{run.name} · {run.folder.name}"


def _describe_machines(run: Run) -> list[str]:
    """Return machine and number of devices for each stretch of rounds that were trained in one place, in order."""
    places: list[tuple[str, int]] = []
    numbers: list[list[int]] = []  # of the rounds in each place
    for committed in run.state.rounds:
        place = (committed.machine, int(committed.row.get("devices") or 1))
        if not places or places[-1] != place:
            places.append(place)
            numbers.append([])
        numbers[-1].append(committed.number)
    return list(map(_describe_place, places, numbers))


def _describe_place(place: tuple[str, int], rounds: list[int]) -> str:
    machine, devices = place
    noun = "rounds" if len(rounds) > 1 else "round"
    words = ", ".join(map(str, rounds))
    return f"{noun} {words} on {format_number_of(devices, 'device')} of {machine or 'an unknown machine'}"


def _describe_notes(dataset: AnyDataset | None) -> Facts:
    if dataset is None:
        return []
    return [("dataset's note", note) for note in dataset.records.notes]


def _sort_key(value: Any) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by size, then words."""
    if isinstance(value, int | float):
        return False, float(value), str(value)
    return True, 0.0, str(value)


def list_box_warnings(dataset: AnyDataset | None) -> list[str]:
    """Return a sentence about boxes that a real pool would not have; none where there are no such boxes."""
    if dataset is None or not dataset.records.ground_truth_boxes:
        return []
    source = BOX_SOURCES.get(dataset.records.box_source, "annotations")
    return [
        f"Person boxes come from ground-truth {source}, in the unlabelled pool too. A real unlabelled pool has none "
        "and would need a person detector, whose mistakes are not in these numbers."
    ]


def list_skipped_images(section: Section) -> Facts:
    """Return id and reason of every image that a run skipped, by id."""
    reasons: dict[str, str] = {}
    for run in section.runs:
        reasons |= run.state.skipped
    return sorted(reasons.items())


def describe_progress(method: Method) -> list[tuple[str, str, str]]:
    """Return for each run its folder, its seed, and how many of its rounds are done."""
    rows = []
    for run in method.runs:
        rows.append((_describe_run(run), str(run.seed), _describe_rounds(run)))
    return rows


def _describe_rounds(run: Run) -> str:
    done = len(run.state.rounds)
    total = run.config.get("rounds")
    words = str(done)
    if isinstance(total, int):
        words += f" of {total}"
    if not done:
        words += " (no round yet)"
    elif isinstance(total, int) and done < total:
        words += " (unfinished)"
    if run.failure:
        words += f"; failed: {run.failure.reason}"
    return words


def tabulate_times(section: Section) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the phases of a round, and for each method the mean seconds per round that it spent in them."""
    phases: dict[str, None] = {}
    for committed in section.rounds:
        for column in committed.row:
            if column.startswith(SECONDS_PREFIX):
                phases[column] = None
    rows = []
    for method in section.started_methods:
        cells = [_format_mean_seconds(method, phase) for phase in phases]
        rows.append((method.label, cells))
    names = [phase.removeprefix(SECONDS_PREFIX) for phase in phases]
    return names, rows


def _format_mean_seconds(method: Method, phase: str) -> str:
    values = []
    for committed in method.rounds:
        # A reused base model was trained by another run.
        if phase == f"{SECONDS_PREFIX}train" and committed.row.get("base_reused"):
            continue
        value = committed.row.get(phase)
        if value is not None:
            values.append(value)
    if not values:
        return "–"
    return f"{sum(values) / len(values):,.1f}"
