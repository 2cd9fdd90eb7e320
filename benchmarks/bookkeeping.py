"""Time and memory of a round without its network: ten million ids, 100,000 of them labelled, 10,000 to select."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.measure import Timing, make_parser, print_result, read_peak_bytes
from llpp.acquisition.predicted_loss import PredictedLossAcquisition
from llpp.config.fingerprint import hash_columns
from llpp.datasets.base import Records
from llpp.ids import TEXT, Ids
from llpp.inference.evaluation import PER_IMAGE, Evaluation
from llpp.rounds.pool import Pool
from llpp.rounds.records import write_scores
from llpp.run_dir.state import Round, RunState, load_state, save_state
from llpp.types import Candidates

JOINTS = 16
HELD_OUT = 1000  # of validation, and as many of test
Laps = dict[str, list[float]]


def make_ids(count: int) -> Ids:
    """pool/im00000000 … without a Python string."""
    numbers = pc.utf8_lpad(pa.array(np.arange(count)).cast(TEXT), 8, "0")
    return Ids(pc.binary_join_element_wise(pa.scalar("pool/im", TEXT), numbers, pa.scalar("", TEXT)))


def make_records(ids: Ids) -> Records:
    """One person in each image; the joints are all the same and take no memory."""
    count = len(ids)
    split = np.full(count, "train")
    split[-HELD_OUT:], split[-2 * HELD_OUT : -HELD_OUT] = "test", "val"
    return Records(
        ids=ids,
        images=Ids(pc.binary_join_element_wise(ids.array, pa.scalar(".jpg", TEXT), pa.scalar("", TEXT))),
        split=split,
        joints=np.broadcast_to(np.float32(0), (count, JOINTS, 2)),
        visible=np.broadcast_to(np.uint8(2), (count, JOINTS)),
        boxes=np.broadcast_to(np.float32(1), (count, 4)),
        box_source="annotation",
        initial=np.broadcast_to(np.True_, (count,)),
    )


@contextmanager
def time_block(laps: Laps, name: str) -> Iterator[None]:
    """Note the seconds of a block."""
    start = time.perf_counter()
    yield
    laps.setdefault(name, []).append(time.perf_counter() - start)


def run_round(
    table: Records, folder: Path, budget: int, score: Callable[[int], NDArray[np.float32]], laps: Laps
) -> None:
    """What `llpp.loop` does around training and scoring; the state is read as a resumed run reads it."""
    with time_block(laps, "load_state"):
        state = load_state(folder / "state.json")
    if state is None:
        raise RuntimeError("there is no state to go on from")
    with time_block(laps, "pool"):
        pool = Pool.build(table.ids, table.select_rows("train"), state.labelled)
    scores = {name: score(len(pool.unlabelled)) for name in PER_IMAGE}  # instead of a network
    number = len(state.rounds)
    with time_block(laps, "candidates"):
        candidates = Candidates(table.ids.take(pool.unlabelled), scores["predicted_loss"])
    with time_block(laps, "select"):
        selected = PredictedLossAcquisition().select(candidates, budget, np.random.default_rng(number))
    with time_block(laps, "label"):
        after = pool.label(selected)
    with time_block(laps, "write_scores"):
        write_scores(folder / "scores.parquet", candidates.ids, Evaluation(scores, {}))
    with time_block(laps, "commit"):
        save_state(
            state.commit(Round(number, {"round": number, "labelled": len(state.labelled)}, tuple(selected))),
            folder / "state.json",
        )
    chosen, predicted = after.labelled[-budget:], scores["predicted_loss"]
    found = predicted[np.searchsorted(pool.unlabelled, chosen)]
    if not np.array_equal(found, np.sort(predicted)[::-1][:budget]) or table.ids.take(chosen) != selected:
        raise RuntimeError("the selected ids are not those of the highest scores")


def check_files(table: Records, folder: Path, labelled: int) -> None:
    """Fail unless the files say what the rounds did."""
    state = load_state(folder / "state.json")
    if state is None or len(set(state.labelled)) != labelled:
        raise RuntimeError(f"the state does not hold {labelled} ids")
    written = Ids(pq.read_table(folder / "scores.parquet", columns=["id"])["id"])
    before = Pool.build(table.ids, table.select_rows("train"), state.labelled[: -len(state.rounds[-1].selected)])
    if written != table.ids.take(before.unlabelled):
        raise RuntimeError("the ids of scores.parquet are not those of the unlabelled pool")


def main() -> None:
    """Measure and compare."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--labelled", type=int, default=100_000, help="before the first round")
    parser.add_argument("--budget", type=int, default=10_000)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    sizes = {"ids": given.ids, "labelled": given.labelled, "budget": given.budget}
    imported, laps, once = read_peak_bytes(), Laps(), Laps()
    ids = make_ids(given.ids)
    with time_block(once, "records"):
        table = make_records(ids)
    with time_block(once, "digest"):
        hash_columns(table.ids, table.split)
    first = rng.choice(table.select_rows("train"), given.labelled, replace=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_state(RunState({}, tuple(table.ids.take(first)), {}), folder / "state.json")
        for _ in range(given.rounds):
            run_round(table, folder, given.budget, lambda n: rng.standard_gamma(2.0, n, dtype=np.float32), laps)
        peak = read_peak_bytes()
        files = {file: (folder / file).stat().st_size for file in ("state.json", "scores.parquet")}
        check_files(table, folder, given.labelled + given.rounds * given.budget)
    for step, seconds in {**once, **laps}.items():
        times, when = Timing(tuple(seconds)), "start of a run" if step in once else "round"
        print_result(f"bookkeeping_{step}", times.seconds, "s", at_each=when, **sizes, **times.notes)
    whole = Timing(tuple(map(sum, zip(*laps.values(), strict=True))))
    print_result("bookkeeping_round", whole.seconds, "s", **sizes, **whole.notes)
    print_result(
        "bookkeeping_peak", peak / 2**30, "GiB", **sizes, libraries_gib=imported / 2**30,
        state_json_mib=files["state.json"] / 2**20, scores_parquet_mib=files["scores.parquet"] / 2**20,
    )  # fmt: skip


if __name__ == "__main__":
    main()
