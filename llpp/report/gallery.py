"""The selected images with truth and prediction, worst first."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.errors import LlppError
from llpp.report.collect import Collection, Run, Section
from llpp.report.metric import IMAGE_METRIC, SELECTED_METRIC
from llpp.tasks.base import Task

Pixels = NDArray[np.uint8]

MAX_TILES = 24  # per selection
MIN_TILES = 4  # per selection; with fewer, the gallery is left out
TILES_PER_PAGE = 168  # some 12 kB each
JPEG_QUALITY = 82  # of 100
PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Tile:
    """One selected image."""

    id: str
    image: str  # JPEG, base64
    rank: int  # of its predicted loss, 1 is the highest
    among: int  # images ranked
    true_loss: float | None
    quality: float | None
    caption: str  # what the task says about truth and prediction


@dataclass(frozen=True)
class Selection:
    """The images that one method selected in one round, first seed."""

    label: str
    seed: str
    selected: int
    metric: float | None
    tiles: tuple[Tile, ...]
    problem: str | None = None  # why tiles are missing


@dataclass(frozen=True)
class Gallery:
    """All methods' selections of one round, next to each other."""

    round: int
    labelled: int
    selections: tuple[Selection, ...]


def build_galleries(section: Section, task: Task, tiles: int) -> list[Gallery]:
    """Build the gallery of every round of a section that selected images, with up to `tiles` images per method."""
    last = 0
    for method in section.started_methods:
        last = max(last, len(method.started_runs[0].state.rounds))
    galleries = []
    for number in range(last):
        runs = _find_selecting_runs(section, number)
        if not runs:
            continue
        _, first_run = runs[0]
        labelled = int(first_run.state.rounds[number].row["labelled"] or 0)
        selections = []
        for label, run in runs:
            selections.append(_build_selection(label, run, number, task, tiles))
        galleries.append(Gallery(number, labelled, tuple(selections)))
    return galleries


def _find_selecting_runs(section: Section, number: int) -> list[tuple[str, Run]]:
    """Return label and first seed's run of the methods that selected images in round `number`."""
    runs = []
    for method in section.started_methods:
        run = method.started_runs[0]
        if number < len(run.state.rounds) and run.state.rounds[number].selected:
            runs.append((method.label, run))
    return runs


def choose_tile_count(collection: Collection) -> int:
    """Return as many tiles per selection as keep the page small enough to mail; 0 where that would be too few."""
    selections = 0
    for section in collection.sections:
        for method in section.started_methods:
            for committed in method.started_runs[0].state.rounds:
                if committed.selected:
                    selections += 1
    tiles = min(MAX_TILES, TILES_PER_PAGE // max(selections, 1))
    if tiles < MIN_TILES:
        return 0
    return tiles


def _build_selection(label: str, run: Run, number: int, task: Task, tiles: int) -> Selection:
    """Build what the first seed's run of a method selected in round `number`, highest true loss first."""
    committed = run.state.rounds[number]
    selection = Selection(
        label, str(run.seed), len(committed.selected), metric=run.get_value(committed, SELECTED_METRIC), tiles=()
    )
    names = ("id", "predicted_loss", "true_loss", IMAGE_METRIC, *sorted(task.shown))
    predictions = run.read_round_columns(number, PREDICTIONS, names)
    if predictions is None:
        return _add_damage(selection, PREDICTIONS)
    # Without scores of the pool, only the selected images were scored, and these have the losses, too.
    scores: Mapping[str, Any] | None = predictions
    if run.has_round_file(number, "scores.parquet"):
        scores = run.read_round_columns(number, "scores.parquet", ("predicted_loss",))
    if scores is None:
        return _add_damage(selection, "scores.parquet")
    selected_tiles, problem = _build_tiles(predictions, scores["predicted_loss"], task, tiles)
    return replace(selection, tiles=tuple(selected_tiles), problem=problem)


def _add_damage(selection: Selection, file: str) -> Selection:
    return replace(selection, problem=f"{file} of this round is missing or damaged.")


def _build_tiles(
    predictions: Mapping[str, Any], predicted_losses: Any, task: Task, count: int
) -> tuple[list[Tile], str | None]:
    """Build the tiles of the `count` images with the highest true loss.

    Args:
        predictions: columns of predictions.parquet, (N, …).
        predicted_losses: (M,) of all images among which the selected ones are ranked.
        task: gives images and truth, and draws them.
        count: the most tiles to build.

    Returns:
        The tiles, and the first reason why one is missing.
    """
    rows = task.dataset.records.ids.find_rows(predictions["id"].tolist()).tolist()
    # An unknown loss sorts last.
    order = np.argsort(-np.nan_to_num(predictions["true_loss"], nan=-np.inf), kind="stable")
    tiles: list[Tile] = []
    problem: str | None = None
    for index in order[:count].tolist():
        name = str(predictions["id"][index])
        prediction = {column: predictions[column][index] for column in task.shown}
        try:
            image = _encode_jpeg(_draw_tile(task, rows[index], name, prediction))
        except LlppError as error:
            problem = problem or str(error)
            continue
        predicted_loss = float(predictions["predicted_loss"][index])
        tile = Tile(
            id=name,
            image=image,
            rank=1 + int((predicted_losses > predicted_loss).sum()),
            among=len(predicted_losses),
            true_loss=_replace_non_finite(predictions["true_loss"][index]),
            quality=_replace_non_finite(predictions[IMAGE_METRIC][index]),
            caption=task.describe(rows[index], prediction),
        )
        tiles.append(tile)
    return tiles, problem


def _replace_non_finite(value: Any) -> float | None:
    """Return a number that the page can show; None for NaN and the infinities."""
    if not np.isfinite(value):
        return None
    return float(value)


def _draw_tile(task: Task, row: int, name: str, prediction: Mapping[str, Any]) -> Pixels:
    """Draw the image in a row of the dataset; a negative row means that the dataset does not have it."""
    if row < 0:
        raise LlppError(f"the dataset has no {name!r} any more")
    return task.draw(task.dataset.load(row), row, prediction)


def _encode_jpeg(tile: Pixels) -> str:
    """Return RGB pixels as JPEG in base64."""
    bgr = tile[..., ::-1]
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return base64.b64encode(content.tobytes()).decode()
