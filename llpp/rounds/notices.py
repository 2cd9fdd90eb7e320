"""What a reader of a run's results should know before the run has any: said once at each start."""

import logging
from pathlib import Path

from llpp.acquisition.base import GRADIENT_LENGTH, LABELLED, TARGET, Acquisition
from llpp.distributed import collectives
from llpp.run_dir.state import RunState
from llpp.tasks.base import Task
from llpp.tasks.measurability import find_undefined_metric
from llpp.training.gradient_lengths import NEIGHBOURS

log = logging.getLogger(__name__)


def log_notices(task: Task, acquisition: Acquisition) -> None:
    """Log the dataset's notes, what cannot be measured, and what takes more than a pass, a line each.

    Only rank 0 says anything.
    """
    if collectives.get_rank() != 0:
        return
    dataset = task.dataset
    for note in dataset.records.notes:
        log.warning("%s: %s", dataset.name, note)
    undefined = find_undefined_metric(task, "test")
    if undefined:
        log.warning("%s: %s", dataset.name, undefined)
    if not len(dataset.records.select_rows("test")):
        log.warning("%s: without test images, the test results of all rounds are empty", dataset.name)
    for cost in describe_costs(task, acquisition):
        log.info("%s", cost)


def describe_costs(task: Task, acquisition: Acquisition) -> list[str]:
    """Say what takes more than a pass of the network over each image: of all images, and to select."""
    lines = []
    always = 1 + len(task.views)
    if always > 1:
        lines.append(
            f"scoring.views={task.chosen_views} scores {always} views of each image of validation, test and pool: "
            f"about {always} times the time of one"
        )
    columns = frozenset(name.removeprefix(LABELLED).removeprefix(TARGET) for name in acquisition.needs)
    needed = 1 + len(task.list_views(columns))
    if needed > always:
        lines.append(f"the acquisition scores {needed} views of each candidate: about {needed} times the time of one")
    if columns & task.dropout_columns:
        lines.append(
            f"the acquisition scores each candidate {acquisition.dropout_passes} times more, with dropout; each time "
            "takes about as long as one view"
        )
    if GRADIENT_LENGTH in columns:
        lines.append(
            f"the acquisition compares each candidate with up to {NEIGHBOURS} labelled images, which takes about as "
            "long as the network or several times longer; set scoring.subset=… to compare so many candidates alone"
        )
    return lines


def log_other_draws(state: RunState, run_dir: Path) -> None:
    """Say that a run continues with other augmentation than it began with, until a round that does is done."""
    first = state.redrawn
    if first is None or first < len(state.rounds) or collectives.get_rank() != 0:
        return
    log.warning(
        "%s: an older llpp began this run and drew other numbers for its augmentation; from round %d on they have "
        "the same ranges, but results are not those that it would have reached",
        run_dir,
        first,
    )
