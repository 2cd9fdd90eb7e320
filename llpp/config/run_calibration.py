"""The images of a run on which a promise about failures can rest: the test images of its last round.

They were drawn by chance and have steered nothing. Validation images may have: they choose the weights with
`training.weights=best`, and the learning rate with `scheduler=plateau`. Labelled images were chosen because they are
hard, and trained on.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llpp.prediction.predictor import CalibrationImages
from llpp.report.files import SAFE_CODECS, read_columns
from llpp.run_dir.round_dir import get_round_dir
from llpp.run_dir.state import RunState

GROUP = "group"
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
    group = _read_groups(path)
    has_groups = group is not None
    if group is None:
        group = columns["id"].astype(np.str_)
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
        group=group[is_known],
        grid=grid,
        has_groups=has_groups,
    )
    return calibration, ""


def _read_groups(path: Path) -> NDArray[np.str_] | None:
    """The group of each test image; None where the run recorded none, as older ones."""
    try:
        with pq.ParquetFile(path) as file:
            position = file.schema_arrow.get_field_index(GROUP)
            if position < 0:
                return None
            kind = file.schema_arrow.field(position).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                return None
            for number in range(file.metadata.num_row_groups):
                if file.metadata.row_group(number).column(position).compression not in SAFE_CODECS:
                    return None
            groups = file.read(columns=[GROUP]).column(GROUP)
    except (OSError, pa.ArrowException):
        return None
    if groups.null_count:
        return None
    return np.array(groups.to_pylist(), dtype=np.str_)
