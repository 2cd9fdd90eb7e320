"""What the numbers rest on: settings, progress, skipped images and time."""

from typing import Any

from llpp.datasets.base import SPLITS
from llpp.datasets.pose import PoseDataset
from llpp.report.collect import Method, Run, Section
from llpp.report.tables import list_validation_counts

COMMON_SETTINGS = {
    "rounds": "rounds",
    "initial": "labelled at the start",
    "budget": "selected per round",
    "init": "weights a round starts from",
    "weights": "weights that are tested",
    "seed": "seeds",
}


def list_settings(section: Section, dataset: PoseDataset | None, skipped: int) -> list[tuple[str, str]]:
    """Name and value of what a reader should know first."""
    rows = [("dataset", section.dataset)]
    if dataset:
        sizes = ", ".join(f"{len(dataset.records.select_rows(split)):,} {split}" for split in SPLITS)
        rows += [("persons", sizes), ("boxes from", dataset.records.box_source)]
    for name, words in COMMON_SETTINGS.items():
        values = {run.config.get(name): None for method in section.methods for run in method.runs}
        rows.append((words, ", ".join(map(str, sorted(values, key=_sort_key)))))
    rows += _describe_metrics(section)
    rows.append(("crop", f"{(section.first_run.config.get('crop') or {}).get('size', 'unknown')} px"))
    undefined = [int(r.row.get("test_undefined") or 0) for method in section.methods for r in method.rounds]
    if undefined:
        rows.append(("test images without that unit", f"{max(undefined):,} (left out of PCK)"))
    if counts := list_validation_counts(section):
        rows.append(("labels spent on validation", ", ".join(f"{count:,}" for count in counts)))
    rows.append(("images skipped", f"{skipped:,}"))
    for run in (run for method in section.methods for run in method.runs):
        if len(places := _describe_machines(run)) > 1:
            rows.append(("places", f"{run.name} · {run.folder.name}: {', then '.join(places)}"))
        for growth in run.state.grown:
            told = f"by {growth.added:,} images before round {growth.round} of {run.name} · {run.folder.name}"
            rows.append(("the pool grew", told))
    rows += [("dataset's note", note) for note in (dataset.records.notes if dataset else ())]
    return rows


def _describe_machines(run: Run) -> list[str]:
    """Where the rounds of a run were made, if that is known: machines and numbers of devices, in order."""
    found: list[tuple[str, int, list[int]]] = []
    for made in run.state.rounds:
        devices = int(made.row.get("devices") or 1)
        if not found or (made.machine, devices) != found[-1][:2]:
            found.append((made.machine, devices, []))
        found[-1][2].append(made.number)
    return [
        f"round{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} on {devices} "
        f"device{'s' if devices > 1 else ''} of {machine or 'an unknown machine'}"
        for machine, devices, numbers in found
    ]


def _describe_metrics(section: Section) -> list[tuple[str, str]]:
    """Name of the measure, and of the selected images' where that is another one; its unit."""
    test, train = section.get_metric_name("test"), section.get_metric_name("train")
    names = {"measure": test} if test == train else {"measure": test, "measure of selected images": train}
    rows = [(what, f"{name} (~: its unit is an estimate)" if "~" in name else name) for what, name in names.items()]
    return [*rows, ("its unit", section.normaliser)]


def _sort_key(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then words."""
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


def list_box_warnings(dataset: PoseDataset | None) -> list[str]:
    """A sentence about boxes that a real pool would not have."""
    if dataset is None or not dataset.records.ground_truth_boxes:
        return []
    source = {"joints": "joints", "annotation": "annotated boxes"}.get(dataset.records.box_source, "annotations")
    return [
        f"Person boxes come from ground-truth {source}, in the unlabelled pool too. A real unlabelled pool has none "
        "and would need a person detector, whose mistakes are not in these numbers."
    ]


def list_skipped_images(section: Section) -> list[tuple[str, str]]:
    """Id and reason of every image that a run went on without."""
    found = {i: why for method in section.methods for run in method.runs for i, why in run.state.skipped.items()}
    return sorted(found.items())


def describe_progress(method: Method) -> list[tuple[str, str, str]]:
    """Folder, seed, and rounds done of those wanted, of each run."""
    rows = []
    for run in method.runs:
        done, wanted = len(run.state.rounds), run.config.get("rounds")
        words = f"{done} of {wanted}" if isinstance(wanted, int) else str(done)
        if not done:
            words += " (no round yet)"
        elif isinstance(wanted, int) and done < wanted:
            words += " (unfinished)"
        if run.failure:
            words += f"; failed: {run.failure.reason}"
        rows.append((f"{run.name} · {run.folder.name}", str(run.seed), words))
    return rows


def tabulate_times(section: Section) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Phases, and the mean seconds per round that each method spent in them."""
    names = (k for method in section.methods for r in method.rounds for k in r.row if k.startswith("seconds_"))
    phases = list(dict.fromkeys(names))
    rows = []
    for method in section.methods:
        cells = []
        for phase in phases:
            values = [
                value
                for r in method.rounds
                if (value := r.row.get(phase)) is not None
                and not (phase == "seconds_train" and r.row.get("base_reused"))  # another run has trained it
            ]
            cells.append(f"{sum(values) / len(values):,.1f}" if values else "–")
        if method.started_runs:
            rows.append((method.label, cells))
    return [phase.removeprefix("seconds_") for phase in phases], rows
