"""The rounds of an active-learning run: train, test, score, select, commit."""

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp import storage
from llpp.acquisition.base import PROGRESS
from llpp.distributed import collectives, interruption
from llpp.errors import OccupiedError, StateError
from llpp.inference.evaluation import Evaluation
from llpp.inference.scorer import PoolScorer
from llpp.reliability.rankers import HEAD_RANKER
from llpp.rounds import image_files, pool_growth, records
from llpp.rounds.auditing import Answers, get_audited_quality, measure_answers
from llpp.rounds.image_files import ImageTable
from llpp.rounds.notices import log_notices, log_other_draws
from llpp.rounds.pool import Pool
from llpp.rounds.preflight import (
    check_sizes,
    check_state_visible,
    check_validation,
    create_initial_state,
    create_live_state,
    find_unreadable_images,
)
from llpp.rounds.progress import measure_progress
from llpp.rounds.ranking import (
    RoundRanker,
    add_failure_scores,
    choose_round_ranker,
    compares_rankers,
    describe_ranker,
)
from llpp.rounds.run import Run
from llpp.rounds.selection import Selection, select_from_pool
from llpp.rounds.stability import FILE as WATCHED
from llpp.rounds.stability import choose_watched, measure_stability
from llpp.rounds.stopwatch import Stopwatch
from llpp.rounds.time_left import describe_time_left
from llpp.run_dir import layout
from llpp.run_dir.lock import check_lock_held, lock_run_dir
from llpp.run_dir.round_dir import get_round_dir
from llpp.run_dir.state import (
    Round,
    RunState,
    check_same_settings,
    compute_digest,
    load_state,
    save_state,
)
from llpp.training.round_trainer import TrainedRound
from llpp.types import Progress

log = logging.getLogger(__name__)
MIN_LABELLED = 2  # images that an objective can compare
NO_ROUNDS = RunState({}, (), {})
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


@dataclass(frozen=True)
class RoundResult:
    """What a round has found out, before it is committed."""

    number: int
    pool: Pool  # that it was trained with
    trained: TrainedRound
    validation: int  # labels that have steered the training
    test_rows: NDArray[np.int64]
    test_scores: Evaluation
    validation_rows: NDArray[np.int64]
    validation_scores: Evaluation | None  # None where validation images have steered the training
    ranker: RoundRanker | None  # what ranks images by how likely they are failures; None: the head
    selection: Selection | None  # None in the last round
    answers: Answers | None  # to what the round before selected, if they came after it
    progress: Progress | None  # what its acquisition knew of the run, if it asked
    stopwatch: Stopwatch


def run_rounds(run: Run) -> RunState:
    """Run every round that is not committed yet; after any interruption the same call resumes.

    All ranks call it together; only rank 0 reads and writes the run directory.
    """
    _check_same_on_all_ranks(run)
    failed = True
    try:
        with explain_storage_errors(run), ExitStack() as held:
            state = open_run(run, held)
            for number in range(len(state.rounds), count_rounds(run, state)):
                interruption.check()
                state = run_round(run, state, number)
            failed = False
    finally:
        run.publisher.close(failed)
    return state


def count_rounds(run: Run, state: RunState) -> int:
    """How many rounds the run has when this start is over."""
    if run.settings.rounds is None:
        # What the next round selects has to be labelled before there can be another.
        return len(state.rounds) + 1
    return run.settings.rounds


def open_run(run: Run, held: ExitStack) -> RunState:
    """Load the committed rounds, or start a new state; refuse what does not match this configuration.

    `held` gets the run directory's lock.
    """
    stored = collectives.on_rank_zero(lambda: _lock_and_load(run.directory, held))
    if run.oracle.asks_people:
        return _open_live_run(run, stored)
    records_changed = stored is None
    if stored is None:
        # What they say is left out may be why there is too little for a run.
        log_notices(run.data.task, run.acquisition)
        resumed = create_initial_state(run.settings, run.result_settings, run.data)
        opened = resumed
    else:
        _check_not_fewer_rounds(run, stored)
        added = collectives.on_rank_zero(lambda: find_added_rows(run, stored))
        resumed = collectives.on_rank_zero(lambda: drop_round_to_redo(run, stored))
        if added is not None:
            bad = find_unreadable_images(run.settings, run.data, added.tolist())
            resumed = pool_growth.grow_pool(resumed, run.result_settings, run.data.dataset, added, bad)
            records_changed = True
        # On the disk, a round to redo stays until it is done again.
        opened = replace(resumed, rounds=stored.rounds)

    is_finished = len(resumed.rounds) >= count_rounds(run, resumed)
    images = image_files.check_images(run.directory, opened, run.data, stored is None, is_finished)
    training_rows = run.data.select_rows("train", opened)
    run.oracle.check(training_rows)
    check_sizes(run.settings, len(opened.initial), len(training_rows))
    check_validation(run.settings, run.result_settings, run.data.task, run.data.select_rows("val", opened))
    collectives.on_rank_zero(lambda: _write_opened_run(run, opened, records_changed, images))
    check_state_visible(run.directory, compute_digest(opened))

    if opened.rounds:
        total = count_rounds(run, opened)
        log.info("%s: %d of %d rounds are done", run.directory, len(opened.rounds), total)
    run.publisher.show(resumed, run.data.task)
    if not is_finished:
        if stored is not None:
            log_notices(run.data.task, run.acquisition)
            log_other_draws(resumed, run.directory)
        run.data.open_crops()
    return resumed


def _open_live_run(run: Run, stored: RunState | None) -> RunState:
    """Load the committed rounds of a run whose labels people give, or start a new state.

    Its images and labels change between starts. What has become of them is known to the project that they belong to;
    only the settings must be the same.
    """
    known = run.oracle.divide(run.data.select_rows("train", stored or NO_ROUNDS))
    if known is None or len(known.labelled) < MIN_LABELLED:
        count = 0 if known is None else len(known.labelled)
        raise StateError(
            f"{count} images are labelled for training, and a round needs {MIN_LABELLED} at least: label some of "
            "them, then run the same command again"
        )
    log_notices(run.data.task, run.acquisition)
    if stored is None:
        opened = create_live_state(run.result_settings, known, run.data.dataset.records.ids)
    else:
        collectives.on_rank_zero(lambda: check_same_settings(stored, run.result_settings, run.directory))
        opened = stored
        damaged = collectives.on_rank_zero(lambda: find_damaged_start_weights(run, stored))
        if damaged:
            raise StateError(
                f"{damaged} is missing or damaged, and round {len(stored.rounds)} starts from it; restore it from a "
                "backup, or choose another name=…"
            )
    check_validation(run.settings, run.result_settings, run.data.task, run.data.select_rows("val", opened))
    collectives.on_rank_zero(lambda: records.write_initial_files(opened, run.directory, run.config))
    check_state_visible(run.directory, compute_digest(opened))
    run.publisher.show(opened, run.data.task)
    log_other_draws(opened, run.directory)
    run.data.open_crops()
    return opened


def _check_not_fewer_rounds(run: Run, state: RunState) -> None:
    """Raise OccupiedError if more rounds are committed than `rounds` asks for: rounds are never taken back."""
    done = len(state.rounds)
    if done > count_rounds(run, state):
        raise OccupiedError(
            f"{run.directory} has {done} rounds already, more than rounds={run.settings.rounds}, and none is taken "
            f"back; set rounds={done + 1} or more to extend it, or another name=… for a run of {run.settings.rounds}"
        )


def find_added_rows(run: Run, state: RunState) -> NDArray[np.int64] | None:
    """Rows by which the data has grown since the last start.

    None if nothing has changed, an error if anything else.
    """
    return pool_growth.find_added_rows(run.directory, state, run.result_settings, run.data, run.settings.grow)


def drop_round_to_redo(run: Run, state: RunState) -> RunState:
    """The state without its last round, if that must be done again.

    Either the run is extended, and the round selects after all, from the checkpoint that it left. Or the next round
    starts from its weights, and they are damaged. StateError if those of the round before it are damaged, too.
    """
    if not 0 < len(state.rounds) < count_rounds(run, state):
        return state
    shortened = replace(state, rounds=state.rounds[:-1])
    damaged = find_damaged_start_weights(run, state)
    if damaged:
        log.warning("%s is missing or damaged; round %d is done again", damaged, len(shortened.rounds))
        if shortened.redrawn is not None:
            # It is trained again, by this program.
            shortened = replace(shortened, redrawn=min(shortened.redrawn, len(shortened.rounds)))
    elif state.rounds[-1].selected:
        return state
    damaged = find_damaged_start_weights(run, shortened)
    if damaged:
        raise StateError(
            f"{damaged} is missing or damaged, and round {len(shortened.rounds)} starts from it; restore it from a "
            "backup, or choose another name=…"
        )
    return shortened


def find_damaged_start_weights(run: Run, state: RunState) -> Path | None:
    """The weights that the next round starts from, if they are not what its last round left."""
    if not state.rounds or run.settings.init != "previous":
        return None
    path = run.trainer.get_tested_checkpoint(len(state.rounds) - 1)
    if layout.is_damaged(run.directory, state.rounds[-1], path.name):
        return path
    return None


def run_round(run: Run, state: RunState, number: int) -> RunState:
    """Train on the labelled ids, test, score the unlabelled pool, select from it, commit."""
    stopwatch = Stopwatch()
    pool = build_pool(run, state)
    labelled = tuple(pool.ids.take(pool.labelled))
    validation = run.data.select_rows("val", state)
    loaders = run.data.make_loaders(pool.labelled.tolist(), validation.tolist(), number)

    # The images matter to round 0 alone, whose model may come from another run.
    files = ""
    if number == 0:
        rows = [*pool.labelled.tolist(), *validation.tolist()]
        files = collectives.on_rank_zero(lambda: image_files.hash_images(run.directory, run.data, rows))
    # A round trains with the settings of the dataset that its ids were chosen from, whatever has joined since.
    settings = {**state.get_result_settings(number), **run.labels}
    trainer = replace(run.trainer, result_settings=settings)
    trained = trainer.train(number, labelled, loaders, state.steps, files)
    stopwatch.record_lap("train")

    scorer = PoolScorer(trained.trainer, trained.module, loaders, run.performance)
    test_rows = run.data.select_rows("test", state)
    task = run.data.task
    free_columns = frozenset(task.free_rankers)
    test_scores = scorer.score(test_rows, task.shown | free_columns)
    steered = run.settings.weights == "best" or trained.steered
    validation_scores = None
    # Images that have decided nothing say as much about new ones as test images do.
    if len(validation) and (not steered or compares_rankers(run.settings.ranker, task)):
        validation_scores = scorer.score(validation, free_columns)
    chosen = collectives.on_rank_zero(
        lambda: choose_round_ranker(run.settings.ranker, task, test_scores, validation_scores)
    )
    ranker = HEAD_RANKER if chosen is None else chosen.ranker
    stopwatch.record_lap("test")

    # The last round's model is only tested: no later round trains on what it selects.
    selection = None
    progress = None
    answers = collectives.on_rank_zero(lambda: measure_answers(run.directory, state, task, run.oracle))
    if run.settings.rounds is None or number < run.settings.rounds - 1:
        if PROGRESS in run.acquisition.needs:
            audited = get_audited_quality(state.rounds, answers)
            progress = measure_progress(
                run.settings, task, pool, state, validation, validation_scores, scorer, audited
            )
        selection = select_from_pool(
            run.acquisition,
            run.oracle,
            task,
            run.settings,
            pool,
            number,
            scorer,
            stopwatch,
            progress,
            run.target,
            ranker,
        )

    result = RoundResult(
        number=number,
        pool=pool,
        trained=trained,
        validation=len(validation) if steered else 0,
        test_rows=test_rows,
        test_scores=test_scores,
        validation_rows=validation,
        validation_scores=None if steered else validation_scores,
        ranker=chosen,
        selection=selection,
        answers=answers,
        progress=progress,
        stopwatch=stopwatch,
    )
    return collectives.on_rank_zero(lambda: commit_round(run, state, result))


def build_pool(run: Run, state: RunState) -> Pool:
    """The pool after all committed rounds, without skipped images and without what still waits for a label."""
    ids = run.data.dataset.records.ids
    rows = run.data.select_rows("train", state)
    known = run.oracle.divide(rows)
    if known is not None:
        return Pool(ids, known.labelled, known.candidates)
    asked = Pool.build(ids, rows, state.labelled)
    answered = collectives.on_rank_zero(lambda: _ask_oracle(run, state))
    return replace(asked, labelled=asked.labelled[answered])


def commit_round(run: Run, state: RunState, result: RoundResult) -> RunState:
    """Write the round's files, then the state that makes it real; only rank 0 calls it."""
    check_lock_held(run.directory)
    directory = get_round_dir(run.directory, result.number)
    test_ids = result.pool.ids.take(result.test_rows)
    groups = run.data.dataset.records.group
    test_groups = None if groups is None else groups.take(result.test_rows)
    task = run.data.task
    watched = choose_watched(task, result.pool.ids, result.test_rows, result.test_scores)
    stable_share = measure_stability(run.directory, state, task, watched)
    records.write_scores(directory / WATCHED, watched.ids, watched.predictions)
    ranker = HEAD_RANKER if result.ranker is None else result.ranker.ranker
    tested = result.test_scores.leave_out(task.shown.difference(task.free_rankers))
    records.write_scores(directory / "test.parquet", test_ids, add_failure_scores(tested, ranker), test_groups)
    if result.validation_scores is not None:
        rows = result.validation_rows
        validation_groups = None if groups is None else groups.take(rows)
        validation_ids = result.pool.ids.take(rows)
        validated = add_failure_scores(result.validation_scores, ranker)
        records.write_scores(directory / "validation.parquet", validation_ids, validated, validation_groups)
    constant = task.evaluate_constant(result.pool.labelled, result.test_rows)
    records.write_constant(directory / "constant.parquet", test_ids, constant)
    selected: tuple[str, ...] = ()
    if result.selection is not None:
        selected_rows = result.pool.ids.find_rows(result.selection.ids).tolist()
        files = [run.data.dataset.get_file_name(row) for row in selected_rows if run.data.dataset.paths]
        records.write_selection(directory, result.selection, files)
        selected = tuple(result.selection.ids)
    row = records.build_row(result.number, task, len(result.pool.labelled), result.validation, result.test_scores)
    if result.ranker is not None:
        row |= records.build_ranker_columns(ranker, tested)
    row |= {
        "pool": len(result.pool.unlabelled),
        "base_reused": int(result.trained.reused),
        "steps": result.trained.steps,
        "devices": collectives.get_world_size(),
        "label_count": task.count_labels(result.pool.labelled),
        "stable_share": stable_share,
    }
    if result.answers is not None:
        records.write_answers(directory, result.answers)
        row |= result.answers.row
    if result.selection is not None:
        row |= records.build_selection_row(task, result.selection)
        row |= records.build_audit_columns(result.number, result.selection, tested)
        row |= records.build_progress_columns(run.acquisition, result.progress, result.selection)
    row |= result.stopwatch.to_row()

    plain_ranker = None if result.ranker is None else result.ranker.to_plain()
    digests = layout.collect_digests(directory)
    finished = Round(result.number, row, selected, digests, socket.gethostname(), plain_ranker)
    committed = state.commit(finished)
    save_state(committed, run.directory / "state.json")
    records.write_rounds(committed, run.directory)
    run.publisher.log_round(row)
    run.publisher.show(committed, task)
    line = records.format_round_line(run.directory, task, row, run.settings.rounds)
    log.info("%s%s", line, describe_time_left(row, run.settings))
    ranked = describe_ranker(result.ranker, state.rounds)
    if ranked:
        log.info("%s", ranked)
    leaning = records.describe_leaning(row, result.progress)
    if leaning:
        log.info("%s", leaning)
    audited = records.describe_audit(task, row)
    if audited:
        log.info("%s", audited)
    shortfall = records.describe_no_learning(result.number, task, result.test_scores, constant)
    if shortfall:
        log.info("%s", shortfall)
    return committed


def _check_same_on_all_ranks(run: Run) -> None:
    facts = {
        **run.result_settings,
        "rounds": run.settings.rounds,
        "program": run.code,
        "run_dir": str(run.directory),
        **run.labels,
    }
    remedy = "start all of them with one command, code and dataset"
    collectives.check_equal_across_ranks("settings, data and program", facts, remedy)


def _ask_oracle(run: Run, state: RunState) -> NDArray[np.bool_]:
    """Whether each id that was asked for so far has its label; StateError if too few have for training."""
    # Asking again changes nothing, and a run that was killed before it had asked does it now.
    run.oracle.ask(state.labelled)
    answered = run.oracle.find_answered(state.labelled)
    count = int(answered.sum())
    if count < MIN_LABELLED:
        raise StateError(
            f"{count} of the {len(answered)} images that were selected for labelling have labels; round "
            f"{len(state.rounds)} needs {MIN_LABELLED} at least: label some of them, then run the same command again"
        )
    return answered


def _lock_and_load(run_dir: Path, held: ExitStack) -> RunState | None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "a shorter name=…" if error.errno == errno.ENAMETOOLONG else "another paths.runs=…"
        raise StateError(f"the run directory {run_dir} cannot be made ({error.strerror}); choose {remedy}") from error
    held.enter_context(lock_run_dir(run_dir))
    return load_state(run_dir / "state.json")


def _write_opened_run(run: Run, state: RunState, records_changed: bool, images: ImageTable | None) -> None:
    """Write what a run has before its next round; the records come before the state that knows of them."""
    pool_growth.write_records(run.directory, state, run.data, records_changed)
    records.write_initial_files(state, run.directory, run.config)
    if images is not None:
        image_files.write_images(run.directory, images)


@contextmanager
def explain_storage_errors(run: Run) -> Iterator[None]:
    """Turn errors of the storage that a run uses into a StateError with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        folders = {}
        if run.trainer.base_models.folder is not None:
            folders["training.base_models"] = run.trainer.base_models.folder
        if run.data.crops is not None:
            folders["paths.cache_dir"] = run.data.crops.root
        raise storage.explain_storage_error(error, run.directory, folders) from error
