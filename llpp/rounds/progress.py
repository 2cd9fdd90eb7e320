"""How far a run has come, for acquisitions that adapt to how good the model is."""

import math

import numpy as np
from numpy.typing import NDArray

from llpp.inference.evaluation import Evaluation
from llpp.inference.scorer import PoolScorer
from llpp.rounds.auditing import AuditedQuality
from llpp.rounds.pool import Pool
from llpp.run_dir.state import RunState
from llpp.settings import Settings
from llpp.tasks.base import Task
from llpp.types import CompetenceSource, Progress

Rows = NDArray[np.int64]


def measure_progress(
    settings: Settings,
    task: Task,
    pool: Pool,
    state: RunState,
    validation: Rows,
    validated: Evaluation | None,
    scorer: PoolScorer,
    audited: AuditedQuality | None = None,
) -> Progress:
    """Describe how far a run has come before its next selection.

    `audited` is what the last audit says of the whole pool; `validated` are the validation images by the present
    model, which are scored where it is None. All ranks call it together.
    """
    if validated is None:
        validated = scorer.score(validation)
    competence, source = decide_competence(audited, validated.metric.get(task.metric_name))
    return Progress(len(state.rounds), settings.rounds, len(pool.labelled), competence, source)


def decide_competence(
    audited: AuditedQuality | None, validated: float | None
) -> tuple[float | None, CompetenceSource | None]:
    """Decide how good a model is on the pool, 0 to 1, and what says so; None and None where nothing was measured.

    There are far more validation images than audited ones, but they may be easier than the pool. So they decide,
    unless they are above the whole interval of the audit, which then decides. The lower of both would nearly always
    be too low: an audit of six images has a standard error of 0.15. In simulations the audit is of the model before,
    so that after a leap it decides as well, which is a round's delay on the side of caution. The images that were
    selected last would not do: where a selection finds failures, they make any model look incompetent.
    """
    if validated is not None and not math.isfinite(validated):
        validated = None
    if audited is None:
        return validated, None if validated is None else "validation"
    if validated is None or validated > audited.high:
        return audited.estimate, "audit"
    return validated, "both"
