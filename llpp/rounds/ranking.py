"""What ranks a round's images by how likely they are failures: the head, or what does it better on validation images.

`ranker=auto` compares, see `choose_ranker`. What is chosen has the scale of the predicted losses, so acquisitions and
promises take its scores in their place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llpp.inference.evaluation import PER_IMAGE, Evaluation
from llpp.inference.loss_ranking import FAILURE_QUALITY
from llpp.reliability.rankers import (
    FAILURE_SCORE,
    HEAD,
    HEAD_RANKER,
    LOSS_COLUMN,
    MIN_IMAGES,
    MIN_OF_EACH,
    Comparison,
    Ranker,
    build_ranker,
    choose_ranker,
    find_finite,
)
from llpp.run_dir.state import Round
from llpp.tasks.base import Task

AUTO = "auto"


@dataclass(frozen=True)
class RoundRanker:
    """What ranks in a round, and why."""

    ranker: Ranker
    chosen: Literal["validation", "setting", "fallback"]
    comparison: Comparison | None = None  # of all that could have been chosen; None where nothing was compared

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for `Round.ranker`."""
        return {**self.ranker.to_plain(), "chosen": self.chosen}


def compares_rankers(setting: str, task: Task) -> bool:
    """Whether a round chooses its ranker by validation images."""
    return setting == AUTO and len(task.free_rankers) > 0


def choose_round_ranker(
    setting: str, task: Task, tested: Evaluation, validated: Evaluation | None
) -> RoundRanker | None:
    """Return what ranks in a round; None for the head where there was nothing to choose. Only rank 0 calls it.

    Args:
        setting: auto, head, or one of the task's free rankers.
        task: says which free rankers there are.
        tested: a pass over the test images, whose labels are not used.
        validated: a pass over the validation images; None without any.
    """
    if setting == HEAD or not task.free_rankers:
        return None
    if setting != AUTO:
        return RoundRanker(_build_free_ranker(setting, tested, validated), "setting")
    comparison = None
    if validated is not None:
        names = (LOSS_COLUMN, *task.free_rankers)
        quality = validated.columns["quality"]
        known = np.isfinite(quality) & find_finite(validated.columns, names)
        columns = {name: validated.columns[name][known] for name in names}
        comparison = choose_ranker(columns, quality[known] < FAILURE_QUALITY, task.free_rankers)
    if comparison is None:
        return RoundRanker(_build_free_ranker(task.free_rankers[0], tested, validated), "fallback")
    return RoundRanker(comparison.ranker, "validation", comparison)


def _build_free_ranker(column: str, tested: Evaluation, validated: Evaluation | None) -> Ranker:
    """The ranker by one column, with the scale that predicted losses have on the test images, or on the others."""
    images = tested
    if not len(tested.columns[LOSS_COLUMN]) and validated is not None:
        images = validated
    losses = images.columns[LOSS_COLUMN]
    # A pass over no image has no column of the task.
    values = images.columns.get(column, np.zeros(0, dtype=np.float32))
    return build_ranker([column], False, {LOSS_COLUMN: losses, column: values})


def list_ranker_columns(ranker: Ranker) -> frozenset[str]:
    """The columns that a scoring pass must keep for a ranker, besides those that it always has."""
    return ranker.columns.difference(PER_IMAGE)


def add_failure_scores(scores: Evaluation, ranker: Ranker) -> Evaluation:
    """An evaluation with the column `failure_score`, where it has what another ranker than the head needs."""
    if ranker == HEAD_RANKER or not ranker.columns <= set(scores.columns):
        return scores
    return replace(scores, columns={**scores.columns, FAILURE_SCORE: ranker.compute_scores(scores.columns)})


def get_failure_scores(scores: Evaluation) -> NDArray[np.float32]:
    """(N,) what ranks these images: `failure_score`, or the predicted losses where the head does."""
    return scores.columns.get(FAILURE_SCORE, scores.columns[LOSS_COLUMN])


def describe_ranker(chosen: RoundRanker | None, earlier: Sequence[Round]) -> str | None:
    """Return a sentence about what ranks in a round; None where the head does, or where it was said before.

    `earlier` are the rounds that are committed.
    """
    if chosen is None or chosen.chosen == "setting" or chosen.ranker == HEAD_RANKER:
        return None
    name = chosen.ranker.name
    if chosen.comparison is not None:
        augrc = chosen.comparison.augrc
        chance = ", a difference that may be chance" if augrc[HEAD] < augrc[name] else ""
        return (
            f"failures are ranked by {name}: AUGRC {augrc[name]:.3f} against {augrc[HEAD]:.3f} of the head on "
            f"{chosen.comparison.images} validation images{chance}"
        )
    before = earlier[-1].ranker if earlier else None
    if before is not None and before["chosen"] == chosen.chosen:
        return None
    return (
        f"failures are ranked by {name}: to choose by, there would have to be {MIN_IMAGES} labelled validation "
        f"images, with {MIN_OF_EACH} failures and {MIN_OF_EACH} others among them; set ranker=head to rank by "
        "predicted loss"
    )
