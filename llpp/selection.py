"""The second half of a round: score the unlabelled pool, select from it, measure what was selected."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from llpp import folding, outputs, ranks
from llpp.datamodule import PoolDataModule
from llpp.experiment import Experiment
from llpp.module import LearningLossModule
from llpp.performance import Performance
from llpp.pool import Pool
from llpp.scoring import PER_IMAGE, Evaluation, evaluate
from llpp.seeds import Stream, generator
from llpp.state import Row
from llpp.types import Candidates


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self.since
        self.since = now

    def seconds(self) -> Row:
        """The laps as columns of a round's row."""
        return {f"seconds_{name}": round(value, 3) for name, value in self.laps.items()}


@dataclass(frozen=True)
class Scoring:
    """A trained round, ready to score its pool: the module's backbone becomes one that cannot be trained any more."""

    trainer: pl.Trainer
    module: LearningLossModule
    data: PoolDataModule
    round_dir: Path
    clock: Clock
    performance: Performance = field(default_factory=Performance)

    def __post_init__(self) -> None:
        self.module.backbone = folding.folded(self.module.backbone, self.module.crop_size)

    @cached_property
    def values(self) -> int:
        """See `folding.values`."""
        return folding.values(self.module.backbone, self.module.crop_size)

    def evaluate(self, rows: NDArray[np.int64], keep: frozenset[str] = frozenset()) -> Evaluation:
        """One pass over `rows`."""
        if folding.can_freeze(self.module, self.trainer) and self.performance.compiles(len(rows), self.values):
            folding.freeze(self.module, self.trainer, self.data.loading.eval_batch_size)
        return evaluate(self.trainer, self.module, self.data, rows, keep)


def select(experiment: Experiment, pool: Pool, number: int, scoring: Scoring) -> tuple[list[str], Callable[[], Row]]:
    """Score the unlabelled pool, select from it, and measure the selected images, whose labels are now known.

    Beside the selected ids comes what writes the round's files and gives the columns of its row, for the first rank.
    """
    settings, needs = experiment.settings, experiment.acquisition.needs
    rng = generator(Stream.SELECT, settings.seed, number)
    seen = pool.unlabelled
    if settings.subset is not None and settings.subset < len(seen):
        seen = seen[np.sort(rng.choice(len(seen), settings.subset, replace=False))]
    wanted = seen if needs or settings.evaluate_pool else seen[:0]
    scores = scoring.evaluate(wanted, needs & {"embedding"})
    ids = pool.ids.take(seen)
    of_labelled = pool.labelled if "labelled_embedding" in needs else seen[:0]
    labelled = scoring.evaluate(of_labelled, frozenset({"embedding"}))
    scoring.clock.lap("score")

    def chosen() -> list[str]:
        columns = {name: scores.columns[name] for name in needs - {"labelled_embedding"}}
        candidates = Candidates(ids, **columns, labelled_embedding=labelled.columns.get("embedding"))
        picked = experiment.acquisition.select(candidates, settings.budget, rng)
        pool.label(picked)  # refuses strangers and repeats of a plug-in before anything is written
        return picked

    selected = ranks.on_first(chosen)
    scoring.clock.lap("select")
    measured = scoring.evaluate(pool.ids.rows_of(selected), frozenset({"joints"}))
    scoring.clock.lap("score")

    def written() -> Row:
        if len(wanted):
            kept = {name: scores.columns[name] for name in PER_IMAGE}  # embeddings are too large to keep
            outputs.write_scores(scoring.round_dir / "scores.parquet", ids, replace(scores, columns=kept))
        outputs.write_selection(scoring.round_dir, selected, measured)
        return outputs.selection_row(measured, scores if settings.evaluate_pool else None)

    return selected, written
