"""The second half of a round: score the unlabelled pool, select from it, measure what was selected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import GRADIENT_LENGTH, LABELLED, NEEDS, PROGRESS, TARGET, Acquisition
from llpp.distributed import collectives
from llpp.errors import ConfigError
from llpp.ids import Ids
from llpp.inference.evaluation import PER_IMAGE, Evaluation
from llpp.inference.scorer import PoolScorer
from llpp.oracles.base import Oracle
from llpp.reliability.rankers import HEAD_RANKER, LOSS_COLUMN, Ranker
from llpp.rounds.auditing import Audit, count_audited, draw_audit
from llpp.rounds.pool import Pool
from llpp.rounds.ranking import add_failure_scores, get_failure_scores, list_ranker_columns
from llpp.rounds.stopwatch import Stopwatch
from llpp.seeds import Stream, make_rng
from llpp.settings import Settings
from llpp.tasks.base import Task
from llpp.training.gradient_lengths import LabelledImages
from llpp.types import Candidates, Progress


@dataclass(frozen=True)
class Selection:
    """What a round selects, and from what."""

    ids: list[str]  # the one to label first comes first
    scores: Evaluation  # of the selected images, with what the task shows of them
    answered: bool  # whether the labels of all of them are known
    pool_ids: Ids  # what could have been selected
    pool_scores: Evaluation | None  # of these; None where nothing was scored
    pool_is_known: bool  # whether metric and true losses of all that was scored mean anything
    audit: Audit | None = None  # of the selected images, those that were drawn by chance; they come first


def select_from_pool(
    acquisition: Acquisition,
    oracle: Oracle,
    task: Task,
    settings: Settings,
    pool: Pool,
    number: int,
    scorer: PoolScorer,
    stopwatch: Stopwatch,
    progress: Progress | None = None,
    target: NDArray[np.int64] | None = None,
    ranker: Ranker = HEAD_RANKER,
) -> Selection:
    """Score the unlabelled pool, select from it, ask for labels, and measure the selected images.

    `progress` and the rows of the `target` are for acquisitions that need them; those that take them see the scores
    of the `ranker` as predicted losses. All ranks call it together; the choice is rank 0's.
    """
    rng = make_rng(Stream.SELECT, settings.seed, number)
    rows = _draw_subset(pool.unlabelled, settings.subset, rng)
    ids = pool.ids.take(rows)

    needs = _sort_needs(acquisition.needs)
    evaluates_pool = settings.evaluate_pool and oracle.knows_pool
    # Where large losses are likelier to be drawn, they are needed whatever the acquisition looks at.
    is_tilted = settings.audit > 0 and settings.audit_tilt > 0
    ranked_by = list_ranker_columns(ranker)

    def score(
        scored_rows: NDArray[np.int64], names: frozenset[str], labelled: LabelledImages | None = None
    ) -> Evaluation:
        wanted = names.difference(PER_IMAGE) | ranked_by
        return add_failure_scores(scorer.score(scored_rows, wanted, labelled), ranker)

    pool_scores = None
    if len(rows) and (needs[""] or evaluates_pool or is_tilted):
        labelled = None
        if GRADIENT_LENGTH in needs[""]:
            labelled = scorer.find_labelled(pool.labelled)
        pool_scores = score(rows, needs[""], labelled)
    scores_of_others = {}
    for prefix, other_rows in ((LABELLED, pool.labelled), (TARGET, target)):
        if needs[prefix] and other_rows is not None:
            scores_of_others[prefix] = score(other_rows, needs[prefix])
    stopwatch.record_lap("score")

    def choose_ids() -> tuple[list[str], Audit | None]:
        wanted = oracle.count_wanted(settings.budget)
        # People may have labelled everything, and acquisition functions expect candidates.
        if wanted == 0 or len(ids) == 0:
            return [], None
        audit = None
        audited: list[str] = []
        drawn = count_audited(settings, wanted)
        if drawn:
            losses = None if pool_scores is None else pool_scores.columns[LOSS_COLUMN]
            failure_scores = None if pool_scores is None else get_failure_scores(pool_scores)
            audit = draw_audit(settings, number, oracle, ids, drawn, losses, failure_scores)
            audited = audit.ids
        chosen: list[str] = []
        if wanted > drawn:
            columns: dict[str, NDArray[np.float32]] = {}
            for prefix, scored in {"": pool_scores, **scores_of_others}.items():
                if scored is None:
                    continue
                columns |= {prefix + name: scored.columns[name] for name in needs[prefix]}
                if acquisition.takes_failure_scores and LOSS_COLUMN in needs[prefix]:
                    columns[prefix + LOSS_COLUMN] = get_failure_scores(scored)
            candidates = make_candidates(ids, columns, progress)
            # The acquisition sees all candidates, and so many more are asked for that enough others are left.
            most = oracle.spare * (wanted - drawn) + len(audited)
            ranked = acquisition.select(candidates, most, rng)
            check_chosen(acquisition, ranked, ids, most)
            chosen = oracle.choose(_leave_out(ranked, audited), wanted - drawn, audited)
        # What is audited comes first: it says little unless all of it is labelled.
        asked = [*audited, *chosen]
        oracle.ask(asked)
        return asked, audit

    selected, audit = collectives.on_rank_zero(choose_ids)
    stopwatch.record_lap("select")

    scores = score(pool.ids.find_rows(selected), task.shown).leave_out(ranked_by - task.shown)
    stopwatch.record_lap("score")
    answered = collectives.on_rank_zero(lambda: bool(oracle.find_answered(selected).all()))
    return Selection(selected, scores, answered, ids, pool_scores, evaluates_pool, audit)


def _leave_out(ranked: Sequence[str], ids: Sequence[str]) -> list[str]:
    left_out = set(ids)
    return [name for name in ranked if name not in left_out]


def _draw_subset(rows: NDArray[np.int64], size: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `size` of some rows, at random, in dataset order."""
    if size is None or size >= len(rows):
        return rows
    return rows[np.sort(rng.choice(len(rows), size, replace=False))]


def check_chosen(acquisition: Acquisition, chosen: Sequence[str], ids: Ids, budget: int) -> None:
    """Raise ConfigError unless a plug-in has selected what it was asked for, before anything is written."""
    expected = min(budget, len(ids))
    wrong = _describe_no_ids(chosen)
    if wrong is not None:
        raise ConfigError(
            f"acquisition {type(acquisition).__name__} selected {wrong}; expected a list of {expected} ids such as "
            f"{ids[0]!r}: fix its select()"
        )
    names = Ids(chosen)
    strangers = np.flatnonzero(ids.find_rows(names) < 0)
    if len(strangers):
        found = f"{chosen[strangers[0]]!r}, which is none of the candidates"
    elif names.find_duplicate() is not None:
        found = f"{names.find_duplicate()!r} twice"
    elif len(chosen) != expected:
        found = f"{len(chosen)} ids"
    else:
        return
    raise ConfigError(
        f"acquisition {type(acquisition).__name__} selected {found}; expected {expected} distinct ids of its "
        f"{len(ids)} candidates: fix its select()"
    )


def _describe_no_ids(chosen: object) -> str | None:
    """Say what was selected if it is no sequence of ids."""
    if not isinstance(chosen, list | tuple | np.ndarray | Ids):
        return f"a {type(chosen).__name__}"
    for item in chosen:
        if not isinstance(item, str):
            return f"{item!r}, a {type(item).__name__}"
    return None


def _sort_needs(needs: frozenset[str]) -> dict[str, frozenset[str]]:
    """Columns by the prefix that says of which images they are, without it; those of the candidates have none."""
    columns: dict[str, set[str]] = {"": set(), LABELLED: set(), TARGET: set()}
    for name in needs - {PROGRESS}:
        prefix = next((prefix for prefix in (LABELLED, TARGET) if name.startswith(prefix)), "")
        columns[prefix].add(name.removeprefix(prefix))
    return {prefix: frozenset(names) for prefix, names in columns.items()}


def make_candidates(
    ids: Ids, columns: Mapping[str, NDArray[np.float32]], progress: Progress | None = None
) -> Candidates:
    """The pool as an acquisition sees it, with columns by the names in its `needs`."""
    general: dict[str, Any] = {}
    of_task = {}
    for name, values in columns.items():
        if name in NEEDS:
            general[name] = values
        else:
            of_task[name] = values
    return Candidates(ids, **general, columns=of_task, progress=progress)
