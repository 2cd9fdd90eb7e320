"""The selected images with truth and prediction, in a viewer: of all rounds and methods of a section together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llpp.errors import LlppError
from llpp.ids import Ids
from llpp.pages.picture_encoding import MOST_PICTURES, encode_image, share_budget
from llpp.pages.viewer import Number, Picture, Viewer, Word
from llpp.reliability.rankers import FAILURE_SCORE, HEAD, LOSS_COLUMN
from llpp.report.collect import Collection, Run, Section
from llpp.report.metric import IMAGE_METRIC, SELECTED_METRIC
from llpp.tasks.base import Task

MIN_TILES = 4  # per selection; with fewer, the gallery is left out
NOTE = (
    "The first seed's selections, worst true loss first. The rank among all candidates is by what ranks failures in "
    "that round, the predicted loss or another score: 1 is the image that was expected to be worst."
)
PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Selection:
    """What one method selected in one round, first seed."""

    method: str  # its label
    run: Run
    round: int

    @property
    def title(self) -> str:
        """How readers know it."""
        return f"selection {self.round + 1} · {self.method}"

    @property
    def selected(self) -> int:
        """How many images were selected."""
        return len(self.run.state.rounds[self.round].selected)


@dataclass(frozen=True)
class TileBudget:
    """How many pictures a page may have of each selection, and how large they may be."""

    tiles: int  # per selection; 0: there would be too few
    characters: int  # of each picture


@dataclass(frozen=True)
class Gallery:
    """A section's viewer, and what is missing in it."""

    viewer: Viewer
    problems: tuple[str, ...]


def list_selections(section: Section) -> list[Selection]:
    """List what the first seeds of a section's methods selected, round by round."""
    selections = []
    for method in section.started_methods:
        run = method.started_runs[0]
        for number, committed in enumerate(run.state.rounds):
            if committed.selected:
                selections.append(Selection(method.label, run, number))
    return sorted(selections, key=lambda selection: selection.round)


def plan_tiles(collection: Collection, taken: int) -> TileBudget:
    """Choose as many pictures per selection as keep the page small enough to mail, over all sections.

    Other things, such as figures, have `taken` characters of it.
    """
    sizes = []
    for section in collection.sections:
        sizes += [selection.selected for selection in list_selections(section)]
    tiles = MOST_PICTURES // max(len(sizes), 1)
    if tiles < MIN_TILES:
        return TileBudget(0, 0)
    return TileBudget(tiles, share_budget(sum(min(size, tiles) for size in sizes), taken))


def build_gallery(section: Section, task: Task, budget: TileBudget, key: str) -> Gallery | None:
    """Build the viewer of a section, called `key` on its page; None if no round has selected images yet."""
    selections = list_selections(section)
    if not selections:
        return None
    pictures: list[Picture] = []
    problems = []
    notes = {}
    for selection in selections:
        found, problem = _build_selection(selection, task, budget)
        pictures += found
        notes[selection.title] = _describe_selection(selection, section, len(found))
        if problem:
            problems.append(f"{selection.title}: {problem}")
    parts = task.describe_pictures()
    viewer = Viewer(
        key=key,
        pictures=pictures,
        numbers=(
            Number("predicted_loss", "predicted loss"),
            Number("true_loss", "true loss"),
            Number("quality", section.metric_title, worse="low" if section.higher_is_better else "high", decimals=2),
            Number("rank", "rank among candidates", worse="low", decimals=0, is_in_caption=False),
        ),
        words=(
            Word("round", "selection"),
            Word("method", "method"),
            Word("both", "selection and method", notes, is_filter=False, is_in_caption=True),
            *parts.words,
        ),
        layers=parts.layers,
        skeleton=parts.skeleton,
        joint_value=parts.joint_value,
        sort="true_loss",
        group="both",
        note=NOTE,
        legend=task.explain_colours(),
    )
    return Gallery(viewer, tuple(problems))


def _describe_selection(selection: Selection, section: Section, shown: int) -> str:
    """Say how good the predictions of a selection were, and which of its images are shown."""
    committed = selection.run.state.rounds[selection.round]
    metric = selection.run.get_value(committed, SELECTED_METRIC)
    text = "unknown" if metric is None else f"{metric:.2f}"
    words = [f"{section.get_metric_name('train')} {text} over all {selection.selected} selected"]
    if shown < selection.selected:
        words.append(f"the worst {shown} shown")
    labelled = int(committed.row["labelled"] or 0)
    words += [f"trained on {labelled:,} labelled images", f"seed {selection.run.seed}"]
    return ", ".join(words)


def _build_selection(selection: Selection, task: Task, budget: TileBudget) -> tuple[list[Picture], str | None]:
    """Build the pictures of a selection, highest true loss first, and the first reason why some are missing."""
    run = selection.run
    committed = run.state.rounds[selection.round]
    ranked_by = LOSS_COLUMN if committed.ranker_name == HEAD else FAILURE_SCORE
    names = {"id", LOSS_COLUMN, "true_loss", IMAGE_METRIC, ranked_by, *task.shown}
    predictions = run.read_round_columns(selection.round, PREDICTIONS, tuple(sorted(names)))
    if predictions is None:
        return [], f"{PREDICTIONS} of this round is missing or damaged."
    # Without scores of the pool, only the selected images were scored, and these have the losses, too.
    scores: Mapping[str, Any] | None = predictions
    if run.has_round_file(selection.round, "scores.parquet"):
        scores = run.read_round_columns(selection.round, "scores.parquet", ("id", ranked_by))
    if scores is None:
        return [], "scores.parquet of this round is missing or damaged."
    ordered = np.sort(scores[ranked_by])
    # The scores of another pass may differ in their last digits, and so would the ranks.
    places = Ids(scores["id"].tolist()).find_rows(predictions["id"].tolist())
    higher = len(ordered) - np.searchsorted(ordered, scores[ranked_by][places], side="right")
    return _build_pictures(selection, predictions, (1 + higher).tolist(), task, budget)


def _build_pictures(
    selection: Selection, predictions: Mapping[str, Any], ranks: Sequence[int], task: Task, budget: TileBudget
) -> tuple[list[Picture], str | None]:
    """Build the pictures of the images with the highest true loss.

    Args:
        selection: whose images they are.
        predictions: columns of predictions.parquet, (N, …).
        ranks: (N,) among all candidates, or among the selected ones where only these have scores.
        task: gives images and truth.
        budget: how many pictures there may be, and how large.

    Returns:
        The pictures, and the first reason why one is missing.
    """
    rows = task.dataset.records.ids.find_rows(predictions["id"].tolist()).tolist()
    # An unknown loss sorts last.
    order = np.argsort(-np.nan_to_num(predictions["true_loss"], nan=-np.inf), kind="stable")
    pictures: list[Picture] = []
    problem: str | None = None
    for index in order[: budget.tiles].tolist():
        prediction = {column: predictions[column][index] for column in task.shown}
        name = str(predictions["id"][index])
        try:
            if rows[index] < 0:
                raise LlppError(f"the dataset has no {name!r} any more")
            shown = task.show(task.dataset.load(rows[index]), rows[index], prediction)
        except LlppError as error:
            problem = problem or str(error)
            continue
        picture = Picture(
            # Two methods may have selected the same image.
            id=f"{name} · {selection.title}",
            name=name.split("/")[-1],
            image=encode_image(shown.pixels, budget.characters, shown.layers),
            layers=shown.layers,
            joint_values=shown.joint_values,
            numbers={
                "predicted_loss": float(predictions[LOSS_COLUMN][index]),
                "true_loss": float(predictions["true_loss"][index]),
                "quality": float(predictions[IMAGE_METRIC][index]),
                "rank": ranks[index],
            },
            words={
                "round": str(selection.round + 1),
                "method": selection.method,
                "both": selection.title,
                **shown.words,
            },
            caption=task.describe(rows[index], prediction),
            frame=shown.frame,
        )
        pictures.append(picture)
    return pictures, problem
