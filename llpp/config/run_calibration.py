"""The images of a run on which a promise about failures can rest.

They are the test images of its last round, and the validation images where these have steered nothing. All were drawn
by chance. Validation images steer where they choose the weights (`training.weights=best`), the learning rate
(`scheduler=plateau`), or when to stop; such a round leaves no table of them. They also steer where they choose what
ranks failures: it is the one that ranked them best, by luck too, and would seem better on them than it is. Labelled
images were chosen because they are hard, and trained on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.config.run_ranker import VALIDATION, is_chosen_by_validation
from llpp.prediction.predictor import CalibrationImages
from llpp.reliability.rankers import HEAD_RANKER, LOSS_COLUMN, Ranker
from llpp.report.files import read_columns
from llpp.run_dir.round_dir import get_round_dir
from llpp.run_dir.state import Round, RunState

GRID_SIZE = 101  # failure scores that are kept of the unlabelled images
FAILURE_SCORE = "failure_score"  # column of scores.parquet
COLUMNS = ("id", "quality")  # next to those of the ranker


@dataclass(frozen=True)
class _Images:
    """A table of a round: N images whose quality is known."""

    score: NDArray[np.float32]
    quality: NDArray[np.float32]
    group: NDArray[np.str_]
    has_groups: bool


def read_calibration(run_dir: Path, state: RunState, ranker: Ranker) -> tuple[CalibrationImages | None, str]:
    """Read the images of a run's last round that steered nothing, with their scores by its ranker.

    Without any: None, and a sentence that says why.
    """
    last = state.rounds[-1]
    folder = get_round_dir(run_dir, last.number)
    path = folder / "test.parquet"
    test = _read_known_images(path, last, ranker)
    if test is None:
        return None, _explain_absence(path, last, ranker)
    tables = [test]
    # Rounds of older versions, and rounds that the validation images have steered, have no such table.
    if VALIDATION in last.files and not is_chosen_by_validation(last):
        validation = _read_known_images(folder / VALIDATION, last, ranker)
        if validation is not None:
            tables.append(validation)
    score = np.concatenate([table.score for table in tables])
    if not len(score):
        return None, f"{run_dir} has no labelled test or validation image, so that nothing is known about failures"
    calibration = CalibrationImages(
        score=score,
        quality=np.concatenate([table.quality for table in tables]),
        group=np.concatenate([table.group for table in tables]),
        grid=_read_grid(folder / "scores.parquet", last, ranker),
        has_groups=test.has_groups,
    )
    return calibration, ""


def _read_known_images(path: Path, committed: Round, ranker: Ranker) -> _Images | None:
    """Read the images of a table whose quality is known; None if it is not as its round left it."""
    columns = read_columns(path, (*COLUMNS, *sorted(ranker.columns)), committed.files.get(path.name))
    if columns is None:
        return None
    # Older versions recorded no groups.
    groups = read_columns(path, ("group",))
    names: NDArray[Any] = columns["id"] if groups is None else groups["group"]
    scores = ranker.compute_scores(columns)
    is_known = np.isfinite(columns["quality"]) & np.isfinite(scores)
    return _Images(
        score=scores[is_known],
        quality=columns["quality"][is_known].astype(np.float32),
        group=names[is_known].astype(np.str_),
        has_groups=groups is not None,
    )


def _explain_absence(path: Path, committed: Round, ranker: Ranker) -> str:
    """Say why a table cannot be used."""

    def has(*names: str) -> bool:
        return read_columns(path, names, committed.files.get(path.name)) is not None

    missing = [name for name in sorted(ranker.columns) if not has(name)]
    if not has(*COLUMNS) or not missing:
        return f"{path} is missing or damaged, so that nothing is known about failures"
    return (
        f"{path} has no column {' and no column '.join(missing)}, by which this run ranks failures, so that nothing "
        "is known about them; train a run with this llpp"
    )


def _read_grid(path: Path, committed: Round, ranker: Ranker) -> NDArray[np.float32] | None:
    """Read quantiles of the unlabelled images' scores; None where the last round has not computed them."""
    # Written where another than the head ranks; what it was computed from is not kept of the pool.
    column = LOSS_COLUMN if ranker == HEAD_RANKER else FAILURE_SCORE
    pool = read_columns(path, (column,), committed.files.get(path.name))
    if pool is None:
        return None
    scores = pool[column]
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    shares = np.linspace(0, 1, GRID_SIZE)
    quantiles = np.quantile(scores, shares, method="inverted_cdf")
    return np.asarray(quantiles, dtype=np.float32)
