"""The images of a run on which a promise about failures can rest.

They are the test images of its last round, and the validation images where these have steered nothing. All were drawn
by chance. Validation images steer where they choose the weights (`training.weights=best`), the learning rate
(`scheduler=plateau`), or when to stop; such a round leaves no table of them. Labelled images were chosen because they
are hard, and trained on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.prediction.predictor import CalibrationImages
from llpp.report.files import read_columns
from llpp.run_dir.round_dir import get_round_dir
from llpp.run_dir.state import Round, RunState

GRID_SIZE = 101  # predicted losses that are kept of the unlabelled images
COLUMNS = ("id", "predicted_loss", "quality")


@dataclass(frozen=True)
class _Images:
    """A table of a round: N images whose quality is known."""

    loss: NDArray[np.float32]
    quality: NDArray[np.float32]
    group: NDArray[np.str_]
    has_groups: bool


def read_calibration(run_dir: Path, state: RunState) -> tuple[CalibrationImages | None, str]:
    """Read the images of a run's last round that steered nothing; without any, None and a sentence that says why."""
    last = state.rounds[-1]
    folder = get_round_dir(run_dir, last.number)
    test = _read_known_images(folder / "test.parquet", last)
    if test is None:
        return None, f"{folder / 'test.parquet'} is missing or damaged, so that nothing is known about failures"
    tables = [test]
    # Rounds of older versions, and rounds that the validation images have steered, have no such table.
    if "validation.parquet" in last.files:
        validation = _read_known_images(folder / "validation.parquet", last)
        if validation is not None:
            tables.append(validation)
    loss = np.concatenate([table.loss for table in tables])
    if not len(loss):
        return None, f"{run_dir} has no labelled test or validation image, so that nothing is known about failures"
    calibration = CalibrationImages(
        loss=loss,
        quality=np.concatenate([table.quality for table in tables]),
        group=np.concatenate([table.group for table in tables]),
        grid=_read_grid(folder / "scores.parquet", last),
        has_groups=test.has_groups,
    )
    return calibration, ""


def _read_known_images(path: Path, committed: Round) -> _Images | None:
    """Read the images of a table whose quality is known; None if it is not as its round left it."""
    columns = read_columns(path, COLUMNS, committed.files.get(path.name))
    if columns is None:
        return None
    # Older versions recorded no groups.
    groups = read_columns(path, ("group",))
    names: NDArray[Any] = columns["id"] if groups is None else groups["group"]
    is_known = np.isfinite(columns["quality"]) & np.isfinite(columns["predicted_loss"])
    return _Images(
        loss=columns["predicted_loss"][is_known].astype(np.float32),
        quality=columns["quality"][is_known].astype(np.float32),
        group=names[is_known].astype(np.str_),
        has_groups=groups is not None,
    )


def _read_grid(path: Path, committed: Round) -> NDArray[np.float32] | None:
    """Read quantiles of the unlabelled images' predicted losses; None where the last round has not scored them."""
    pool = read_columns(path, ("predicted_loss",), committed.files.get(path.name))
    if pool is None:
        return None
    losses = pool["predicted_loss"]
    losses = losses[np.isfinite(losses)]
    if not len(losses):
        return None
    shares = np.linspace(0, 1, GRID_SIZE)
    quantiles = np.quantile(losses, shares, method="inverted_cdf")
    return np.asarray(quantiles, dtype=np.float32)
