"""Time and memory of a round without its network: ten million ids, 100,000 of them labelled, 10,000 to select."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.measure import Result, Timing, make_parser, print_result, read_peak_bytes
from benchmarks.nets import JOINTS
from llpp.acquisition.predicted_loss import PredictedLossAcquisition
from llpp.config.fingerprint import hash_columns
from llpp.datasets.base import Records
from llpp.datasets.pose import LSP_SKELETON, PoseLabels
from llpp.ids import TEXT, Ids
from llpp.inference.evaluation import PER_IMAGE, Evaluation
from llpp.rounds.pool import Pool
from llpp.rounds.records import write_scores
from llpp.run_dir.state import Round, RunState, load_state, save_state
from llpp.types import Candidates

HELD_OUT = 1000  # images of validation, and as many of test
ONCE = ("records", "digest")  # steps at the start of a run, not in each round


@dataclass
class Costs:
    """What a run's bookkeeping takes."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by step
    memory: int = 0  # peak bytes of the process
    libraries: int = 0  # bytes of them that the imports take
    state_file: int = 0  # bytes
    scores_file: int = 0  # bytes

    def time_step(self, name: str, step: Callable[..., Result], *values: Any) -> Result:
        """Note the seconds of a step and return its result."""
        start = time.perf_counter()
        result = step(*values)
        self.seconds[name].append(time.perf_counter() - start)
        return result

    @property
    def rounds(self) -> Timing:
        """Seconds of whole rounds."""
        steps = [values for name, values in self.seconds.items() if name not in ONCE]
        return Timing(tuple(np.sum(steps, axis=0).tolist()))


def make_ids(count: int) -> Ids:
    """Make pool/im00000000 … without a Python string."""
    numbers = pc.utf8_lpad(pa.array(np.arange(count)).cast(TEXT), 8, "0")
    return _join("pool/im", numbers, "")


def _join(before: str, texts: pa.Array, after: str) -> Ids:
    separator = pa.scalar("", TEXT)
    return Ids(pc.binary_join_element_wise(pa.scalar(before, TEXT), texts, pa.scalar(after, TEXT), separator))


def make_records(ids: Ids) -> Records[PoseLabels]:
    """Put one person into each image; the joints are all the same and take no memory."""
    count = len(ids)
    split = np.full(count, "train")
    split[-HELD_OUT:] = "test"
    split[-2 * HELD_OUT : -HELD_OUT] = "val"
    return Records(
        ids=ids,
        images=_join("", ids.array, ".jpg"),
        split=split,
        labels=PoseLabels(
            LSP_SKELETON,
            np.broadcast_to(np.float32(0), (count, JOINTS, 2)),
            np.broadcast_to(np.uint8(2), (count, JOINTS)),
        ),
        boxes=np.broadcast_to(np.float32(1), (count, 4)),
        box_source="annotation",
        may_start=np.broadcast_to(np.True_, (count,)),
    )


def run_round(
    records: Records[PoseLabels], folder: Path, budget: int, rng: np.random.Generator, costs: Costs
) -> None:
    """Do what `llpp.rounds.loop` does around training and scoring; random scores replace the network's.

    The state is read as a resumed run reads it. Raises RuntimeError if the wrong ids are selected.
    """
    state = costs.time_step("load_state", load_state, folder / "state.json")
    if state is None:
        raise RuntimeError("state.json was not found")
    labelled = state.labelled
    pool = costs.time_step("pool", lambda: Pool.build(records.ids, records.select_rows("train"), labelled))
    scores = {name: rng.standard_gamma(2.0, len(pool.unlabelled), dtype=np.float32) for name in PER_IMAGE}
    predicted = scores["predicted_loss"]
    number = len(state.rounds)
    candidates = costs.time_step("candidates", lambda: Candidates(records.ids.take(pool.unlabelled), predicted))
    select = PredictedLossAcquisition().select
    selected = costs.time_step("select", select, candidates, budget, np.random.default_rng(number))
    after = costs.time_step("label", pool.label, selected)
    evaluation = Evaluation(scores, {})
    costs.time_step("write_scores", write_scores, folder / "scores.parquet", candidates.ids, evaluation)
    done = Round(number, {"round": number, "labelled": len(labelled)}, tuple(selected))
    costs.time_step("commit", lambda: save_state(state.commit(done), folder / "state.json"))

    chosen = after.labelled[-budget:]
    chosen_scores = predicted[np.searchsorted(pool.unlabelled, chosen)]
    if not np.array_equal(chosen_scores, np.sort(predicted)[::-1][:budget]) or records.ids.take(chosen) != selected:
        raise RuntimeError("the selected ids are not those of the highest scores")


def measure_rounds(count: int, labelled: int, budget: int, rounds: int = 3) -> Costs:
    """Measure the start of a run and some rounds."""
    costs = Costs(libraries=read_peak_bytes())
    rng = np.random.default_rng(0)
    ids = make_ids(count)
    records = costs.time_step("records", make_records, ids)
    costs.time_step("digest", hash_columns, records.ids, records.split)
    first = rng.choice(records.select_rows("train"), labelled, replace=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_state(RunState({}, tuple(records.ids.take(first)), {}), folder / "state.json")
        for _ in range(rounds):
            run_round(records, folder, budget, rng, costs)
        costs.memory = read_peak_bytes()
        costs.state_file = (folder / "state.json").stat().st_size
        costs.scores_file = (folder / "scores.parquet").stat().st_size
    return costs


def main() -> None:
    """Measure, and print the whole round with its steps."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--labelled", type=int, default=100_000, help="before the first round")
    parser.add_argument("--budget", type=int, default=10_000)
    options = parser.parse_args()
    costs = measure_rounds(options.ids, options.labelled, options.budget, options.rounds)
    steps: dict[str, Any] = {f"{name}_s": Timing(tuple(values)).seconds for name, values in costs.seconds.items()}
    print_result(
        "bookkeeping_round", costs.rounds.seconds, "s", ids=options.ids, labelled=options.labelled,
        budget=options.budget, peak_gib=costs.memory / 2**30, libraries_gib=costs.libraries / 2**30, **steps,
        **costs.rounds.notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
