"""The rounds: train, test, score, select, commit; a plain function over values and factories."""

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from llpp.distributed import collectives
from llpp.errors import StateError
from llpp.hashing import hash_json
from llpp.inference.scorer import PoolScorer
from llpp.rounds import pool_growth, records
from llpp.rounds.experiment import Experiment
from llpp.rounds.pool import Pool
from llpp.rounds.preflight import check_labels, check_sizes, check_state_visible, create_initial_state
from llpp.rounds.selection import score_and_select
from llpp.rounds.stopwatch import Stopwatch
from llpp.run_dir import layout
from llpp.run_dir.lock import check_lock_held, lock_run_dir
from llpp.run_dir.state import Round, Row, RunState, load_state, save_state
from llpp.training.round_trainer import RoundTrainer

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


def run(experiment: Experiment) -> RunState:
    """Run all rounds that are not committed yet; the same call resumes after any end.

    All ranks call it together; the first one alone reads and writes the run directory.
    """
    run_dir, failed = experiment.run_dir, True
    shape = {"rounds": experiment.settings.rounds, "program": experiment.code, "run_dir": str(run_dir)}
    facts = {**experiment.science, **shape}
    collectives.check_equal_across_ranks(
        "settings, data and program", facts, "start all of them with one command, code and dataset"
    )
    try:
        with ExitStack() as held:
            state = opened(experiment, held)
            for number in range(len(state.rounds), experiment.settings.rounds):
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


def opened(experiment: Experiment, held: ExitStack) -> RunState:
    """The state to go on from; `held` gets the run directory's lock."""
    run_dir, settings = experiment.run_dir, experiment.settings

    def found() -> RunState | None:
        run_dir.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock_run_dir(run_dir))
        return load_state(run_dir / "state.json")

    state = collectives.on_rank_zero(found)
    anew = state is None
    if state is None:
        state = create_initial_state(settings, experiment.science, experiment.dataset, experiment.bad_images)
        left = state
    else:
        old = state
        added = collectives.on_rank_zero(lambda: pool_growth.find_added_rows(experiment, old))
        left = collectives.on_rank_zero(lambda: without_what_is_redone(experiment, old))
        if added is not None:
            left, anew = pool_growth.grow_pool(experiment, left, added), True
        state = replace(left, rounds=state.rounds)
    check_labels(experiment.dataset, state.skipped)
    check_sizes(settings, len(state.initial), len(experiment.split_rows("train", state)))
    begun = state

    def written() -> None:
        pool_growth.write_records(experiment, begun, anew)
        records.write_initial_files(begun, run_dir, experiment.config)

    collectives.on_rank_zero(written)
    check_state_visible(run_dir, hash_json(asdict(begun)))
    if state.rounds:
        log.info("%s: %d of %d rounds are done", run_dir, len(state.rounds), settings.rounds)
    experiment.show(left)
    if len(left.rounds) < settings.rounds:
        experiment.prepare()
    return left


def without_what_is_redone(experiment: Experiment, state: RunState) -> RunState:
    """The state without its last round, where that is the first to be done; on the disk it stays until then.

    Either the run is extended, and the round selects after all, from the checkpoint that it left. Or the next round
    goes on from its weights, and they are damaged. StateError if so are those of the round before it.
    """
    if not 0 < len(state.rounds) < experiment.settings.rounds:
        return state
    first = replace(state, rounds=state.rounds[:-1])
    if broken := unusable_start(experiment, state):
        log.warning("%s is missing or damaged; round %d is done again", broken, len(first.rounds))
    elif state.rounds[-1].selected:
        return state
    if broken := unusable_start(experiment, first):
        raise StateError(
            f"{broken} is missing or damaged, and round {len(first.rounds)} starts from it; restore it from a "
            "backup, or choose another name=…"
        )
    return first


def unusable_start(experiment: Experiment, state: RunState) -> Path | None:
    """The weights that the next round starts from, if they are not what its last round left."""
    if not state.rounds or experiment.settings.init != "previous":
        return None
    path = experiment.training.get_tested_checkpoint(len(state.rounds) - 1)
    return path if layout.is_damaged(experiment.run_dir, state.rounds[-1], path.name) else None


def training(experiment: Experiment, state: RunState, number: int) -> RoundTrainer:
    """What trains round `number`: the same, whatever has joined the pool since its ids were chosen."""
    return replace(experiment.training, science=state.get_result_settings(number))


def current_pool(experiment: Experiment, state: RunState) -> Pool:
    """The pool after all committed rounds, without skipped images."""
    return Pool.build(experiment.dataset.records.ids, experiment.split_rows("train", state), state.labelled)


def run_round(experiment: Experiment, state: RunState, number: int) -> RunState:
    """Train on the labelled ids, test, select unless it is the last round, commit."""
    settings, run_dir = experiment.settings, experiment.run_dir
    pool = current_pool(experiment, state)
    labelled, validation = pool.labelled.tolist(), experiment.split_rows("val", state).tolist()
    data = experiment.make_data(labelled, validation, number)
    clock = Stopwatch()
    files = experiment.files([*labelled, *validation]) if number == 0 else ""
    trained = training(experiment, state, number).train(number, state.labelled, data, state.steps, files)
    clock.record_lap("train")
    directory = layout.get_round_dir(run_dir, number)
    scoring = PoolScorer(trained.trainer, trained.module, data, experiment.performance)

    test = experiment.split_rows("test", state)
    tested = scoring.score(test)
    clock.record_lap("test")
    selected: list[str] = []
    selection: Callable[[], Row] = dict
    if number < settings.rounds - 1:
        selected, selection = score_and_select(experiment, pool, number, scoring, directory, clock)

    def committed() -> RunState:
        check_lock_held(run_dir)
        records.write_scores(directory / "test.parquet", pool.ids.take(test), tested)
        steered = settings.weights == "best" or trained.steered
        row = records.build_test_row(number, len(labelled), len(validation) if steered else 0, tested)
        row |= {
            "pool": len(pool.unlabelled),
            "base_reused": int(trained.reused),
            "steps": trained.steps,
            "devices": collectives.get_world_size(),
        }
        row |= selection() | clock.to_row()
        done = state.commit(
            Round(number, row, tuple(selected), layout.collect_digests(directory), socket.gethostname())
        )
        save_state(done, run_dir / "state.json")
        records.write_rounds(done, run_dir)
        records.log_round(experiment.loggers, row)
        experiment.show(done)
        log.info("%s", records.format_round_line(run_dir, row, settings.rounds))
        return done

    return collectives.on_rank_zero(committed)
