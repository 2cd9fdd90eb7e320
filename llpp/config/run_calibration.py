"""The images of a run on which a promise about failures can rest: the test images of its last round.

They were drawn by chance and have steered nothing. Validation images may have: they choose the weights with
`training.weights=best`, and the learning rate with `scheduler=plateau`. Labelled images were chosen because they are
hard, and trained on.
"""

from pathlib import Path

import numpy as np

from llpp.prediction.predictor import CalibrationImages
from llpp.report.files import read_columns
from llpp.run_dir.round_dir import get_round_dir
from llpp.run_dir.state import RunState

GRID_SIZE = 101  # predicted losses that are kept of the unlabelled images
COLUMNS = ("id", "predicted_loss", "quality")


def read_calibration(run_dir: Path, state: RunState) -> tuple[CalibrationImages | None, str]:
    """Read the test images of a run's last round; without any, None and a sentence that says why."""
    last = state.rounds[-1]
    folder = get_round_dir(run_dir, last.number)
    path = folder / "test.parquet"
    columns = read_columns(path, COLUMNS, last.files.get(path.name))
    if columns is None:
        return None, f"{path} is missing or damaged, so that nothing is known about failures"
    is_known = np.isfinite(columns["quality"]) & np.isfinite(columns["predicted_loss"])
    if not is_known.any():
        return None, f"{run_dir} has no labelled test image, so that nothing is known about failures"
    # Older versions recorded no groups.
    groups = read_columns(path, ("group",))
    names = columns["id"] if groups is None else groups["group"]
    grid = None
    scored = folder / "scores.parquet"
    pool = read_columns(scored, ("predicted_loss",), last.files.get(scored.name))
    if pool is not None and np.isfinite(pool["predicted_loss"]).any():
        losses = pool["predicted_loss"]
        shares = np.linspace(0, 1, GRID_SIZE)
        grid = np.quantile(losses[np.isfinite(losses)], shares, method="inverted_cdf").astype(np.float32)
    calibration = CalibrationImages(
        loss=columns["predicted_loss"][is_known].astype(np.float32),
        quality=columns["quality"][is_known].astype(np.float32),
        group=names[is_known].astype(np.str_),
        grid=grid,
        has_groups=groups is not None,
    )
    return calibration, ""
