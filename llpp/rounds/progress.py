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

    The competence is the lower of two measurements, as far as there are any: `audited`, what the last audit says of
    the whole pool, and the task's metric of the validation images by the present model: of `validated`, or of a pass
    over them where that is None. An audit of a few images may be much too high by chance, and validation images may
    be easier than the pool. The images that were selected last would not do: where a selection finds failures, they
    make any model look incompetent. All ranks call it together.
    """
    if validated is None:
        validated = scorer.score(validation)
    measured = [audited, validated.metric.get(task.metric_name)]
    known = [value for value in measured if value is not None and math.isfinite(value)]
    competence = min(known, default=None)
    return Progress(len(state.rounds), settings.rounds, len(pool.labelled), competence, audited is not None)
