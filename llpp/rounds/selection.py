"""The second half of a round: score the unlabelled pool, select from it, measure what was selected."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from llpp.distributed import collectives
from llpp.inference.evaluation import PER_IMAGE
from llpp.inference.scorer import PoolScorer
from llpp.rounds import records
from llpp.rounds.experiment import Experiment
from llpp.rounds.pool import Pool
from llpp.rounds.stopwatch import Stopwatch
from llpp.run_dir.state import Row
from llpp.seeds import Stream, make_rng
from llpp.types import Candidates


def score_and_select(
    experiment: Experiment, pool: Pool, number: int, scoring: PoolScorer, round_dir: Path, clock: Stopwatch
) -> tuple[list[str], Callable[[], Row]]:
    """Score the unlabelled pool, select from it, and measure the selected images, whose labels are now known.

    Beside the selected ids comes what writes the round's files and gives the columns of its row, for the first rank.
    """
    settings, needs = experiment.settings, experiment.acquisition.needs
    rng = make_rng(Stream.SELECT, settings.seed, number)
    seen = pool.unlabelled
    if settings.subset is not None and settings.subset < len(seen):
        seen = seen[np.sort(rng.choice(len(seen), settings.subset, replace=False))]
    wanted = seen if needs or settings.evaluate_pool else seen[:0]
    scores = scoring.score(wanted, needs & {"embedding"})
    ids = pool.ids.take(seen)
    of_labelled = pool.labelled if "labelled_embedding" in needs else seen[:0]
    labelled = scoring.score(of_labelled, frozenset({"embedding"}))
    clock.record_lap("score")

    def choose_ids() -> list[str]:
        columns = {name: scores.columns[name] for name in needs - {"labelled_embedding"}}
        candidates = Candidates(ids, **columns, labelled_embedding=labelled.columns.get("embedding"))
        picked = experiment.acquisition.select(candidates, settings.budget, rng)
        pool.label(picked)  # refuses strangers and repeats of a plug-in before anything is written
        return picked

    selected = collectives.on_rank_zero(choose_ids)
    clock.record_lap("select")
    measured = scoring.score(pool.ids.find_rows(selected), frozenset({"joints"}))
    clock.record_lap("score")

    def write_files() -> Row:
        if len(wanted):
            kept = {name: scores.columns[name] for name in PER_IMAGE}  # embeddings are too large to keep
            records.write_scores(round_dir / "scores.parquet", ids, replace(scores, columns=kept))
        records.write_selection(round_dir, selected, measured)
        return records.build_selection_row(measured, scores if settings.evaluate_pool else None)

    return selected, write_files
