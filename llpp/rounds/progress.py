"""How far a run has come, for acquisitions that adapt to how good the model is."""

import math

import numpy as np
from numpy.typing import NDArray

from llpp.inference.scorer import PoolScorer
from llpp.rounds.pool import Pool
from llpp.run_dir.state import RunState
from llpp.settings import Settings
from llpp.tasks.base import Task
from llpp.types import Progress

Rows = NDArray[np.int64]


def measure_progress(
    settings: Settings,
    task: Task,
    pool: Pool,
    state: RunState,
    validation: Rows,
    scorer: PoolScorer,
    audited: float | None = None,
) -> Progress:
    """Describe how far a run has come before its next selection.

    The competence is `audited`, what the last audit says of the whole pool, if it is known. Otherwise, as in round 0,
    it is the task's metric of the validation images by the present model, which costs a pass over them. The images
    that were selected last would not do: where a selection finds failures, they make any model look incompetent.
    All ranks call it together.
    """
    competence = audited
    if competence is None:
        competence = scorer.score(validation).metric.get(task.metric_name)
    if competence is not None and not math.isfinite(competence):
        competence = None
    return Progress(len(state.rounds), settings.rounds, len(pool.labelled), competence, audited is not None)
