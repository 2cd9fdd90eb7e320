"""How many predictions a round has left where they were: on the same test images after every round.

Test images are never trained on, so they are the same ones in every round, and the pass over them is made anyway.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llpp.ids import Ids, Rows
from llpp.inference.evaluation import Evaluation
from llpp.report.files import read_columns
from llpp.run_dir.round_dir import get_round_dir
from llpp.run_dir.state import RunState
from llpp.tasks.base import Task

FILE = "watched.parquet"
MOST = 1000  # images, of which 16 joints take some 130 kB a round


@dataclass(frozen=True)
class Watched:
    """Predictions of up to 1,000 test images."""

    ids: Ids  # (W,)
    rows: Rows  # (W,) of the dataset
    predictions: Evaluation  # the columns that the task shows


def choose_watched(task: Task, ids: Ids, rows: Rows, tested: Evaluation) -> Watched:
    """Choose the images to watch, evenly spread over the T test images, from a pass over these."""
    places = np.unique(np.linspace(0, max(len(rows) - 1, 0), min(len(rows), MOST)).astype(np.int64))
    columns = {name: tested.columns[name][places] for name in sorted(task.shown) if name in tested.columns}
    return Watched(ids.take(rows[places]), rows[places], Evaluation(columns, {}))


def measure_stability(run_dir: Path, state: RunState, task: Task, watched: Watched) -> float | None:
    """Measure the share of predictions (of poses: joints) that the last committed round had made, too, or nearly.

    None in round 0, and where the predictions of the round before are gone.
    """
    if not state.rounds or not len(watched.ids):
        return None
    last = state.rounds[-1]
    names = tuple(watched.predictions.columns)
    columns = read_columns(get_round_dir(run_dir, last.number) / FILE, ("id", *names), last.files.get(FILE))
    if columns is None:
        return None
    # Where people give the labels, test images join.
    places = Ids(columns["id"].tolist()).find_rows(watched.ids)
    is_common = places >= 0
    before = {name: columns[name][places[is_common]] for name in names}
    now = {name: watched.predictions.columns[name][is_common] for name in names}
    agreement = task.measure_agreement(before, now, watched.rows[is_common])
    known = agreement[np.isfinite(agreement)]
    return float(known.mean()) if len(known) else None
