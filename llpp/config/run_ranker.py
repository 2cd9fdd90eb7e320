"""What ranks the images of a run by how likely they are failures, as its last round has chosen it."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from llpp.errors import StateError
from llpp.reliability.rankers import HEAD_RANKER, LOSS_COLUMN, Ranker
from llpp.report.files import read_columns
from llpp.run_dir.round_dir import STATE, get_round_dir
from llpp.run_dir.state import Round, RunState

VALIDATION = "validation.parquet"
BY_VALIDATION = "validation"
ORIGINS = {
    "setting": "as the run's settings say",
    "fallback": "too few validation images, or failures among them, to choose by",
}


def read_ranker(run_dir: Path, state: RunState, offered: Collection[str]) -> Ranker:
    """Return the ranker of a run's last round: the head's where the round has not chosen one, as in older runs.

    Args:
        run_dir: the run's folder, for the message.
        state: with a committed round.
        offered: columns that the run's task gives, next to the predicted loss.

    Raises:
        StateError: the ranker needs a column that there is not.
    """
    chosen = state.rounds[-1].ranker
    if chosen is None:
        return HEAD_RANKER
    ranker = Ranker.from_plain(chosen)
    missing = sorted(ranker.columns - {LOSS_COLUMN, *offered})
    if missing:
        raise StateError(
            f"{run_dir / STATE} ranks failures by {ranker.name}, and this run's task does not give {missing[0]}; "
            "restore the run's files from a backup"
        )
    return ranker


def is_chosen_by_validation(committed: Round) -> bool:
    """Whether a round's validation images have decided what ranks failures."""
    return committed.ranker is not None and committed.ranker["chosen"] == BY_VALIDATION


def describe_choice(run_dir: Path, state: RunState) -> str:
    """Why the last round's ranker is the one it is, for people; empty where nothing was chosen."""
    last = state.rounds[-1]
    if last.ranker is None:
        return ""
    if not is_chosen_by_validation(last):
        return ORIGINS[last.ranker["chosen"]]
    path = get_round_dir(run_dir, last.number) / VALIDATION
    columns = read_columns(path, ("quality",), last.files.get(VALIDATION))
    if columns is None:
        return "chosen on validation images"
    count = int(np.isfinite(columns["quality"]).sum())
    return f"chosen on {count:,} validation images"
