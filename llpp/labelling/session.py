"""What comes next for a project: answers are read, a round is trained, the next batch is written.

A start looks at the files and does the next thing that can be done. Repeating a step changes nothing, and the next
start finds out where an earlier one was interrupted:

    read answers ─► enough? ─► labels.parquet of the round ─► the run trains and commits it ─► batch of the next round

Batch n, in the project's folder round_n, is what round n of the run is trained after. Where an earlier run was
deleted, its batches stay, and the rounds of the new run follow the last of them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from llpp.datasets.project.boxes import read_boxes
from llpp.datasets.project.index import CONDITIONS, ProjectIndex, describe_conditions, read_index
from llpp.datasets.project.open_project import ProjectOptions, open_project
from llpp.datasets.project.project_file import ProjectFile, read_project, write_project
from llpp.errors import ConfigError, OccupiedError, StateError
from llpp.journal.agreement import FILE as AGREEMENT
from llpp.journal.agreement import describe_agreement, write_agreement
from llpp.journal.fold import Folded, fold_answers, measure_agreement
from llpp.journal.folder import LabellingFolder
from llpp.journal.journal import read_journal
from llpp.journal.snapshot import STATES, Snapshot, count_changed_labels, list_labels, read_snapshot, write_snapshot
from llpp.labelling.asked import AskedRow, list_batches, list_check_dirs
from llpp.labelling.choice import count_test_candidates, count_test_share, list_train_candidates
from llpp.labelling.importing import ImportSettings, import_files
from llpp.labelling.kept_copies import keep_copy
from llpp.labelling.next_batch import BatchWriter
from llpp.labelling.people import NamedBox, find_boxes
from llpp.labelling.released import read_released
from llpp.labelling.settings import LabelSettings
from llpp.labelling.states import (
    BatchCounts,
    ImageStates,
    build_snapshot,
    describe_time,
    find_states,
    read_batches,
    release_open,
)
from llpp.labelling.unpacking import list_label_files
from llpp.oracles.tool import LabellingTool
from llpp.run_dir.round_dir import LABELS, STATE, get_round_dir
from llpp.run_dir.state import RunState, load_state

log = logging.getLogger(__name__)
MIN_LABELLED = 2  # images that an objective can compare


@dataclass(frozen=True)
class Labelling:
    """A project, the run that learns from it, and what its user has decided."""

    folder: LabellingFolder
    root: Path  # of the images
    run_dir: Path
    tool: LabellingTool  # that batches are written for
    tools: Sequence[LabellingTool]  # that may have written answers
    options: ProjectOptions
    settings: LabelSettings
    budget: int  # images in a batch
    acquisition: str  # name of the acquisition function
    command: str  # that continues


@dataclass(frozen=True)
class Outcome:
    """What a start has come to."""

    line: str  # for the user
    facts: Mapping[str, Any] = field(default_factory=dict)  # the same for programs
    snapshot: Path | None = None  # a round can be trained, with these labels

    def to_json(self) -> dict[str, Any]:
        """The line and the facts, for `--json`."""
        return {"line": self.line, **self.facts}


@dataclass(frozen=True)
class _Labels:
    """Everything that is known about the labels of a project at one moment."""

    project: ProjectFile
    index: ProjectIndex
    folded: Mapping[str, Folded]
    batches: Mapping[int, Sequence[AskedRow]]
    states: ImageStates
    boxes: Mapping[str, Sequence[NamedBox]] | None

    def get_batch(self, number: int) -> int:
        """Return the batch that a round of the run is trained after."""
        return self.project.first_batch + number

    def count(self, state: str, is_test: bool) -> int:
        """Images in a state, of the test groups or of the others."""
        rows = self.index.ids.find_rows(self.states.list_images(state))
        rows = rows[rows >= 0]
        # A frame too near to another split may be labelled, and is not trained on all the same.
        is_used = self.index.condition[rows] != CONDITIONS.index("apart")
        return int((is_used & (self.index.is_test[rows] == is_test)).sum())


def prepare_round(labelling: Labelling) -> Outcome:
    """Read what people have answered, and find out whether there is enough for the next round.

    Returns:
        An outcome with a snapshot if a round is to be trained now, else with what the project waits for.

    Raises:
        LlppError: something that the user has to correct.
    """
    settings = labelling.settings
    folder = labelling.folder
    _check_owner(labelling)
    state = load_state(labelling.run_dir / STATE)
    number = len(state.rounds) if state is not None else 0
    snapshot = get_round_dir(labelling.run_dir, number) / LABELS
    if state is not None and number > 0:
        stored = _read_stored_labels(labelling)
        if stored.get_batch(number) not in stored.batches:
            # A start was interrupted between the commit and the batch. Nothing has been read since then, so this
            # batch is what it would have been.
            _write_batch(labelling, stored, state)
    project, index, remarks = open_project(labelling.root, folder, labelling.options)
    project = _take_possession(labelling, project, number)
    for remark in [*remarks, *describe_conditions(index)]:
        log.info("%s", remark)
    if snapshot.exists():
        missing = _find_missing_images(labelling, project, index, snapshot)
        if not missing:
            log.info("round %d was interrupted and is trained with the labels that it began with", number)
            return Outcome("", snapshot=snapshot)
        log.warning(
            "round %d was interrupted and begins again: of its labelled images, %d are gone or have changed, "
            "for example %s",
            number,
            len(missing),
            missing[0],
        )
    _import_answers(labelling, project, index)
    labels = _collect_labels(labelling, project, index)
    if settings.release:
        count = release_open(folder, labels.states, labels.batches)
        log.info("%d open images have gone back to the pool", count)
        labels = _collect_labels(labelling, project, index)

    if number == 0 and not labels.batches and labels.count("labelled", is_test=False) < settings.least:
        return _write_first_batch(labelling, labels)
    reason = _find_reason_to_wait(labelling, labels, number)
    if reason is not None:
        return _describe_waiting(labelling, labels, number, reason)
    for sentence in _describe_labels(labelling, labels, number):
        log.info("%s", sentence)
    # The snapshot comes last: a round is trained with what is next to it.
    agreement = measure_agreement(labels.folded, labels.project.joints)
    if agreement.images:
        write_agreement(agreement, snapshot.with_name(AGREEMENT))
    write_snapshot(_build_snapshot(labelling, labels, number), snapshot)
    return Outcome("", snapshot=snapshot)


def finish_round(labelling: Labelling) -> Outcome:
    """Write the batch that the round which was just committed asks for."""
    state = load_state(labelling.run_dir / STATE)
    if state is None or not state.rounds:
        raise StateError(f"{labelling.run_dir} has no finished round; run the same command again")
    labels = _read_stored_labels(labelling)
    _write_batch(labelling, labels, state)
    labels = _read_stored_labels(labelling)
    return _describe_waiting(labelling, labels, len(state.rounds), None)


def _check_owner(labelling: Labelling) -> None:
    """Raise an error if another run, or another tool, asks for this project's labels."""
    project = read_project(labelling.folder.project_file)
    if project is None:
        return
    run = str(labelling.run_dir.absolute())
    if project.run and project.run != run and not _has_moved(project, labelling.run_dir):
        raise OccupiedError(
            f"the labels in {labelling.folder.path} are asked for by the run {project.run}, and only one run of a "
            f"project asks, not {run}; use that name and seed, set another labelling=…, or compare methods with "
            "oracle=simulated"
        )
    if project.tool and project.tool != labelling.tool.name:
        raise ConfigError(
            f"tool={labelling.tool.name} differs from tool={project.tool}, with which {labelling.folder.path} was "
            f'begun; leave it out, or write {labelling.tool.name} as "tool" into '
            f"{labelling.folder.project_file} for the batches to come (files of all tools are read in any case)"
        )


def _has_moved(project: ProjectFile, run_dir: Path) -> bool:
    """Whether the run that asks was moved, together with its project, to where the user starts it now."""
    is_gone = not (Path(project.run) / STATE).exists()
    return is_gone and ((run_dir / STATE).exists() or not Path(project.root).exists())


def _find_missing_images(
    labelling: Labelling, project: ProjectFile, index: ProjectIndex, snapshot: Path
) -> list[str]:
    """Return the labelled images of a snapshot that cannot be read any more."""
    content = read_snapshot(snapshot)
    is_labelled = content.state == STATES.index("labelled")
    missing = set(_collect_labels(labelling, project, index).states.list_images("missing"))
    return sorted(missing & set(content.images.take(np.flatnonzero(is_labelled))))


def _take_possession(labelling: Labelling, project: ProjectFile, number: int) -> ProjectFile:
    """Write down which run asks, with which tool and settings, if that is not known yet."""
    words = list(labelling.settings.words) or list(project.words)
    run = str(labelling.run_dir.absolute())
    first_batch = project.first_batch
    if number == 0:
        # Batches of a run that was deleted are not written over: they say what was asked for and suggested.
        first_batch = max(list_batches(labelling.folder), default=0)
    owned = replace(project, run=run, tool=labelling.tool.name, words=words, first_batch=first_batch)
    if owned != project:
        write_project(owned, labelling.folder.project_file)
    return owned


def _import_answers(labelling: Labelling, project: ProjectFile, index: ProjectIndex) -> None:
    settings = labelling.settings
    folder = labelling.folder
    files = list_label_files(folder.inbox)
    if settings.labels is not None:
        extra = Path(settings.labels)
        if not extra.exists():
            raise ConfigError(f"label.labels={settings.labels} does not exist; give a file or folder of answers")
        files += list_label_files(extra) if extra.is_dir() else [extra]
    batch_folders = [folder.get_round_dir(number) for number in sorted(read_batches(folder))]
    batch_folders += list_check_dirs(folder).values()
    for tool in labelling.tools:
        for path in tool.list_answer_files(labelling.root.resolve(), batch_folders):
            if path.is_relative_to(labelling.root.resolve()):
                keep_copy(path, folder.kept)
            files.append(path)
    boxes = _name_boxes(project, folder)
    options = ImportSettings(
        settings.accept,
        settings.retract,
        settings.changed,
        settings.visibility,
        settings.empty,
        settings.half_pixel,
        settings.annotators,
    )
    result = import_files(files, labelling.tools, folder, project, index, options, boxes)
    for remark in result.remarks:
        log.info("%s", remark)
    rejections = result.describe_rejections()
    if rejections:
        log.warning("%s", rejections)
    if result.news:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.counts.items()))
        log.info("%d new answers: %s", len(result.news), kinds)


def _name_boxes(project: ProjectFile, folder: LabellingFolder) -> dict[str, list[NamedBox]] | None:
    """The boxes of each image with the ids of the persons in them; None where each image is one person."""
    boxes = read_boxes(project.boxes, folder)
    if boxes is None:
        return None
    named = {}
    for image, listed in boxes.items():
        named[image] = [(f"{image}#{place}", box) for place, box in enumerate(listed, start=1)]
    return named


def _read_stored_labels(labelling: Labelling) -> _Labels:
    """The labels as the last start has left them, without looking for new images or answers."""
    folder = labelling.folder
    project = read_project(folder.project_file)
    index = read_index(folder.index)
    if project is None or index is None:
        missing = folder.project_file if project is None else folder.index
        raise StateError(f"{missing} is missing or damaged; restore it from a backup")
    return _collect_labels(labelling, project, index)


def _collect_labels(labelling: Labelling, project: ProjectFile, index: ProjectIndex) -> _Labels:
    folder = labelling.folder
    folded = fold_answers(read_journal(folder.journal), labelling.settings.conflict)
    batches = read_batches(folder)
    accept_changed = labelling.settings.changed == "accept"
    states = find_states(folded, batches, index, read_released(folder.released), accept_changed)
    return _Labels(project, index, folded, batches, states, _name_boxes(project, folder))


def _find_reason_to_wait(labelling: Labelling, labels: _Labels, number: int) -> str | None:
    """Say why round `number` cannot be trained yet; None if it can."""
    settings = labelling.settings
    train = labels.count("labelled", is_test=False)
    counts = labels.states.batches.get(labels.get_batch(number))
    is_open = counts is not None and counts.open > 0
    if counts is not None and is_open and counts.share < settings.enough:
        return ""
    if train < MIN_LABELLED:
        return f"{train} images are labelled for training, and a round needs {MIN_LABELLED}"
    if number == 0 and train < settings.least and is_open and settings.enough > 0:
        return f"{train} images are labelled for training, and label.least={settings.least} are wanted"
    if number > 0 and not _needs_batch(labelling, labels, counts) and not _has_news(labelling, labels, number):
        return "nothing is new since the last round"
    return None


def _needs_batch(labelling: Labelling, labels: _Labels, counts: BatchCounts | None) -> bool:
    """Whether only another round can ask for images, though it has no new labels to train on."""
    if counts is None or counts.open > 0:
        return False
    if counts.answered + counts.released > 0:
        # All of the batch was skipped, shows nobody or was given back.
        return True
    # The batch has no images: too many were open, which have been given back, or none were left, and there are now.
    if labels.states.list_images("open"):
        return False
    images = list_train_candidates(labels.index, labels.states.state)
    has_persons = any(labels.boxes is None or find_boxes(labels.boxes, image) for image in images)
    return has_persons or _count_next_test_images(labelling, labels) > 0


def _has_news(labelling: Labelling, labels: _Labels, number: int) -> bool:
    """Whether a round would train or test on other labels than the one before it."""
    path = get_round_dir(labelling.run_dir, number - 1) / LABELS
    before = read_snapshot(path)
    now = _build_snapshot(labelling, labels, number)
    return list_labels(before) != list_labels(now)


def _describe_labels(labelling: Labelling, labels: _Labels, number: int) -> list[str]:
    """Say what is known about the work of the annotators."""
    sentences = [
        describe_time(labels.folded),
        describe_agreement(measure_agreement(labels.folded, labels.project.joints)),
    ]
    before = get_round_dir(labelling.run_dir, number - 1) / LABELS
    if before.exists():
        changed = count_changed_labels(read_snapshot(before), _build_snapshot(labelling, labels, number))
        if changed:
            sentences.append(f"{changed} labels changed since round {number - 1}")
    return [sentence for sentence in sentences if sentence]


def _build_snapshot(labelling: Labelling, labels: _Labels, number: int) -> Snapshot:
    """What round `number` trains on, and for how many images it may ask afterwards."""
    test = _count_next_test_images(labelling, labels)
    still_open = len(labels.states.list_images("open"))
    budget = max(labelling.budget - still_open - test, 0)
    joints = labels.project.joints
    return build_snapshot(number, budget, joints, labels.folded, labels.states, labels.boxes)


def _count_next_test_images(labelling: Labelling, labels: _Labels) -> int:
    """How many test images the next batch asks for; images that are still open count against it."""
    free = max(labelling.budget - len(labels.states.list_images("open")), 0)
    labelled = labels.count("labelled", is_test=True)
    wanted = count_test_share(free, labelling.settings.test, labelled, labels.count("open", is_test=True))
    # In a small project they run out, and images for training take their place.
    return min(wanted, count_test_candidates(labels.index, labels.states.state))


def _write_first_batch(labelling: Labelling, labels: _Labels) -> Outcome:
    writer = _make_writer(labelling, labels, 0)
    taken = list(labels.states.state)
    writer.write_first(taken, labelling.budget, labelling.settings.test)
    labels = _read_stored_labels(labelling)
    return _describe_waiting(labelling, labels, 0, None)


def _write_batch(labelling: Labelling, labels: _Labels, state: RunState) -> None:
    """Write the batch that the last committed round of a run asks for."""
    writer = _make_writer(labelling, labels, len(state.rounds))
    test = _count_next_test_images(labelling, labels)
    batch = labels.get_batch(len(state.rounds))
    writer.write_next(batch, list(labels.states.state), test, state, labelling.run_dir, labelling.acquisition)


def _make_writer(labelling: Labelling, labels: _Labels, number: int) -> BatchWriter:
    notes = _describe_labels(labelling, labels, number)
    return BatchWriter(
        folder=labelling.folder,
        root=labelling.root.resolve(),
        tool=labelling.tool,
        project=labels.project,
        index=labels.index,
        settings=labelling.settings,
        command=labelling.command,
        notes=notes,
    )


def _describe_waiting(labelling: Labelling, labels: _Labels, number: int, reason: str | None) -> Outcome:
    """Say what a project waits for."""
    batch = labels.get_batch(number)
    counts = labels.states.batches.get(batch, BatchCounts(batch, 0, 0, 0, 0, 0, 0))
    page = labelling.folder.get_round_dir(batch) / "batch.html"
    facts = {
        "state": "awaiting labels",
        "round": batch,
        "asked": counts.asked,
        "answered": counts.answered,
        "labelled": counts.labelled,
        "empty": counts.empty,
        "skipped": counts.skipped,
        "open": counts.open,
        "missing": counts.missing,
        "labelled_for_training": labels.count("labelled", is_test=False),
        "labelled_for_testing": labels.count("labelled", is_test=True),
        "batch": str(page.parent) if page.exists() else None,
        "run": str(labelling.run_dir),
        "reason": reason or None,
    }
    still_open = len(labels.states.list_images("open"))
    if not counts.asked and still_open:
        line = (
            f"awaiting labels: round {batch} asks for no images, because {still_open} of earlier batches are open; "
            "label them, or give them back with label.release=true"
        )
        return Outcome(line, facts)
    if not counts.asked and reason and counts.released:
        return Outcome(f"awaiting labels: {reason}; label any images of {labelling.root}", facts)
    if not counts.asked:
        line = f"nothing is left to ask for: {_count_all(labels)}; add images to {labelling.root}, or label more"
        return Outcome(line, facts | {"state": "done"})
    line = f"awaiting labels: {counts.describe()}"
    if still_open > counts.open:
        line = f"{line}, {still_open - counts.open} more of earlier batches"
    if reason:
        line = f"{line}; {reason}"
    words = _list_words_to_train_now(labelling, labels, counts, number)
    if words and counts.open:
        line = f"{line}; train now with {' '.join(words)}, or label the rest"
    return Outcome(line, facts)


def _list_words_to_train_now(labelling: Labelling, labels: _Labels, counts: BatchCounts, number: int) -> list[str]:
    """The settings with which a round would be trained without further answers; none if nothing can be trained."""
    train = labels.count("labelled", is_test=False)
    # After a round, what is there has been trained on; a new run may begin with the labels of an earlier one.
    if train < MIN_LABELLED or (number > 0 and not counts.answered):
        return []
    words = []
    enough = labelling.settings.enough
    if counts.share < enough:
        enough = counts.reached
        words.append(f"label.enough={enough:g}")
    # With label.enough=0 a round trains with however few.
    if number == 0 and train < labelling.settings.least and enough > 0:
        words.append(f"label.least={train}")
    return words


def _count_all(labels: _Labels) -> str:
    counts = labels.states.counts
    return ", ".join(f"{counts[kind]} {kind}" for kind in ("labelled", "empty", "skipped"))
