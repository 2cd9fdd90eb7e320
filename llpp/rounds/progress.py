"""How far a run has come, for acquisitions that adapt to how good the model is."""

import math

import numpy as np
from numpy.typing import NDArray

from llpp.inference.evaluation import Evaluation
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
    validated: Evaluation | None,
    scorer: PoolScorer,
    audited: float | None = None,
) -> Progress:
    """Describe how far a run has come before its next selection.

    The competence is `audited`, what the last audit says of the whole pool, if it is known. Otherwise it is the
    task's metric of the images that the last round selected, by the model that had not seen
    their labels. Where those were not known in that round, as in round 0 or while people still label, it is the
    metric of the validation images by the present model: of `validated`, or of a pass over them where that is None.
    All ranks call it together.
    """
    competence = audited
    if competence is None and state.rounds:
        competence = state.rounds[-1].row.get(f"selected_{task.metric_name}")
    if competence is None:
        if validated is None:
            validated = scorer.score(validation)
        competence = validated.metric.get(task.metric_name)
    if competence is not None and not math.isfinite(competence):
        competence = None
    return Progress(len(state.rounds), settings.rounds, len(pool.labelled), competence)
