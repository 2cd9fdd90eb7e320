"""The rounds: train, test, score, select, commit; a plain function over values and factories."""

import errno
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

from llpp import outputs
from llpp.acquisition.base import Acquisition
from llpp.datamodule import PoolDataModule
from llpp.datasets.base import PoseDataset
from llpp.errors import StateError
from llpp.module import LearningLossModule, Phase
from llpp.pool import Pool
from llpp.scoring import Evaluation, evaluate
from llpp.seeds import Stream, generator
from llpp.start import Settings, check_labels, check_sizes, start_state
from llpp.state import Round, Row, RunState, check_same_science, digest, load, lock, save
from llpp.training import Training
from llpp.types import Candidates

log = logging.getLogger(__name__)
STORAGE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EEXIST,
    errno.ENOTDIR,
}


class Observer(Protocol):
    """Shows a run elsewhere. It may be told about a round more than once, but never misses one."""

    def show(self, state: RunState, dataset: PoseDataset) -> None:
        """All committed rounds; called before the first one that is left to do, and after each."""

    def close(self, failed: bool) -> None:
        """Called once, however the run ends."""


@dataclass(frozen=True)
class Experiment:
    """Everything that a run needs, built; no configuration object in sight."""

    settings: Settings
    science: Mapping[str, Any]
    config: str  # the resolved config, as YAML
    run_dir: Path
    dataset: PoseDataset
    acquisition: Acquisition
    make_data: Callable[[Sequence[int], Sequence[int], int], PoolDataModule]  # labelled, validation rows, round
    make_module: Callable[[int, Phase], LearningLossModule]  # round
    make_trainer: Callable[[Path, str, bool], pl.Trainer]  # directory of its checkpoints, their key, the best too?
    code: str  # digest of the program
    base_models: Path | None  # where runs of a comparison leave their first models for each other
    loggers: Sequence[Logger]  # get each round's row
    observers: Sequence[Observer]

    @property
    def training(self) -> Training:
        """What trains its rounds."""
        return Training(
            self.settings,
            self.science,
            self.run_dir,
            self.base_models,
            self.code,
            self.make_module,
            self.make_trainer,
        )

    def files(self, rows: Sequence[int]) -> str:
        """Digest of the image files of some rows, by name and size; a missing one is found when it is read."""
        paths = self.dataset.paths
        sizes = (paths[r].stat().st_size if paths[r].exists() else None for r in rows) if paths else ()
        return digest([list(rows), *([paths[r].name, size] for r, size in zip(rows, sizes, strict=False))])

    def show(self, state: RunState) -> None:
        """Tell all observers."""
        for observer in self.observers:
            observer.show(state, self.dataset)

    def split_rows(self, split: str, state: RunState) -> NDArray[np.int64]:
        """Rows of a split in dataset order, without the images that were skipped."""
        return self.dataset.records.rows(split, state.skipped)


def run(experiment: Experiment) -> RunState:
    """Run all rounds that are not committed yet; the same call resumes after any end."""
    run_dir, settings, failed = experiment.run_dir, experiment.settings, True
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with lock(run_dir):
            state = load(run_dir / "state.json")
            if state is None:
                state = start_state(settings, experiment.science, experiment.dataset)
            else:
                check_same_science(state, experiment.science, run_dir)
            check_labels(experiment.dataset, state.skipped)
            check_sizes(settings, len(state.initial), len(experiment.split_rows("train", state)))
            outputs.begin(state, run_dir, experiment.config)
            if state.rounds:
                log.info("%s: %d of %d rounds are done", run_dir, len(state.rounds), settings.rounds)
            if 0 < len(state.rounds) < settings.rounds and not state.rounds[-1].selected:
                # the run is extended: its last round selects after all, from the checkpoint that it left
                state = replace(state, rounds=state.rounds[:-1])
            experiment.show(state)
            for number in range(len(state.rounds), settings.rounds):
                state = run_round(experiment, state, number)
            failed = False
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise StateError(
            f"cannot write to the run directory {run_dir}: {error.strerror or error}; the last committed round is "
            "safe. Make room or give permission and start the same command again, or choose another runs=…"
        ) from error
    finally:
        for observer in experiment.observers:
            observer.close(failed)
    return state


def current_pool(experiment: Experiment, state: RunState) -> Pool:
    """The pool after all committed rounds, without skipped images."""
    return Pool.start(experiment.dataset.records.ids, experiment.split_rows("train", state), state.labelled)


def run_round(experiment: Experiment, state: RunState, number: int) -> RunState:
    """Train on the labelled ids, test, select unless it is the last round, commit."""
    settings, run_dir = experiment.settings, experiment.run_dir
    round_dir = outputs.round_dir(run_dir, number)
    pool = current_pool(experiment, state)
    labelled, validation = pool.labelled.tolist(), experiment.split_rows("val", state).tolist()
    data = experiment.make_data(labelled, validation, number)
    clock = Clock()
    files = experiment.files([*labelled, *validation]) if number == 0 else ""
    trained = experiment.training.round(number, state.labelled, data, state.steps, files)
    trainer, module = trained.trainer, trained.module
    clock.lap("train")

    test = experiment.split_rows("test", state)
    tested = evaluate(trainer, module, data, test.tolist())
    outputs.write_scores(round_dir / "test.parquet", pool.ids.take(test), tested)
    steered = settings.weights == "best" or trained.steered
    row = outputs.test_row(number, len(labelled), len(validation) if steered else 0, tested)
    row |= {"base_reused": int(trained.reused), "steps": trained.steps}
    clock.lap("test")

    selected: list[str] = []
    if number < settings.rounds - 1:
        scoring = Scoring(trainer, module, data, round_dir, clock)
        selected, measured = select(experiment, pool, number, scoring)
        row |= measured
    row |= clock.seconds()
    state = state.commit(Round(number, row, tuple(selected)))
    save(state, run_dir / "state.json")
    outputs.write_rounds(state, run_dir)
    outputs.log_round(experiment.loggers, row)
    experiment.show(state)
    log.info("%s", outputs.round_line(run_dir, row, settings.rounds))
    return state


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
    """A trained round, ready to score its pool."""

    trainer: pl.Trainer
    module: LearningLossModule
    data: PoolDataModule
    round_dir: Path
    clock: Clock

    def evaluate(self, rows: NDArray[np.int64], keep: frozenset[str] = frozenset()) -> Evaluation:
        """One pass over `rows`."""
        return evaluate(self.trainer, self.module, self.data, rows.tolist(), keep)


def select(experiment: Experiment, pool: Pool, number: int, scoring: Scoring) -> tuple[list[str], Row]:
    """Score the unlabelled pool, select from it, and measure the selected images, whose labels are now known."""
    settings, needs = experiment.settings, experiment.acquisition.needs
    rng = generator(Stream.SELECT, settings.seed, number)
    seen = pool.unlabelled
    if settings.subset is not None and settings.subset < len(seen):
        seen = seen[np.sort(rng.choice(len(seen), settings.subset, replace=False))]
    wanted = seen if needs or settings.evaluate_pool else seen[:0]
    scores = scoring.evaluate(wanted, needs & {"embedding"})
    ids = pool.ids.take(seen)
    candidates = Candidates(
        ids,
        scores.columns["predicted_loss"] if "predicted_loss" in needs else None,
        scores.columns["true_loss"] if "true_loss" in needs else None,
        scores.columns["embedding"] if "embedding" in needs else None,
        _labelled_embedding(experiment, pool, scoring) if "labelled_embedding" in needs else None,
    )
    scoring.clock.lap("score")
    selected = experiment.acquisition.select(candidates, settings.budget, rng)
    labelled = pool.label(selected).labelled  # refuses strangers and repeats before anything is written
    scoring.clock.lap("select")
    chosen = scoring.evaluate(labelled[len(pool.labelled) :], frozenset({"joints"}))
    if len(wanted):
        outputs.write_scores(scoring.round_dir / "scores.parquet", ids, scores)
    outputs.write_selection(scoring.round_dir, selected, chosen)
    scoring.clock.lap("score")
    return selected, outputs.selection_row(chosen, scores if settings.evaluate_pool else None)


def _labelled_embedding(experiment: Experiment, pool: Pool, scoring: Scoring) -> NDArray[np.float32]:
    return scoring.evaluate(pool.labelled, frozenset({"embedding"})).columns["embedding"]
