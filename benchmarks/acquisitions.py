"""Time and memory of each acquisition: 1,000 of a million candidates, 2,000 labelled, 256 dimensions, 14 joints.

Every acquisition gets made columns in a fresh process, whose peak memory has these, the ids and torch in it.
"""

import time

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from benchmarks.core_set import draw_points
from benchmarks.measure import make_parser, print_result, read_peak_bytes, run_in_process
from benchmarks.nets import JOINTS
from llpp.acquisition.base import LABELLED, PROGRESS, Acquisition
from llpp.config.compose import conf_dir
from llpp.config.instantiate import make
from llpp.ids import Ids
from llpp.rounds.selection import make_candidates
from llpp.types import Candidates, Progress

COUNT = 1_000_000
LABELLED_COUNT = 2000
BUDGET = 1000
SCALE_OF_POSES = 0.2  # shares of the crop's side


def draw_column(name: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one column of `count` images: clouds of poses, embeddings of a ReLU, positive losses and scores."""
    if name == "embedding":
        return draw_points(count, rng)
    if name == "pose":
        values = rng.standard_normal((count, JOINTS, 2), dtype=np.float32)
        values *= SCALE_OF_POSES
        values -= values.mean(axis=1, keepdims=True)
        return values
    if name == "joint_confidence":
        return rng.random((count, JOINTS), dtype=np.float32)
    scores = rng.standard_normal(count, dtype=np.float32)
    return np.abs(scores, out=scores)


def make_pool(acquisition: Acquisition, count: int) -> Candidates:
    """Make candidates with the columns that an acquisition needs."""
    rng = np.random.default_rng(0)
    columns = {}
    for name in sorted(acquisition.needs - {PROGRESS}):
        images = LABELLED_COUNT if name.startswith(LABELLED) else count
        columns[name] = draw_column(name.removeprefix(LABELLED), images, rng)
    ids = Ids([f"image/{row:07}" for row in range(count)])
    return make_candidates(ids, columns, Progress(round=1, rounds=6, labelled=LABELLED_COUNT, competence=0.4))


def measure(name: str, count: int, budget: int) -> tuple[float, float]:
    """Return the seconds of one selection, and the MiB that the process has held at most."""
    settings = OmegaConf.load(conf_dir() / f"acquisition/{name}.yaml")
    run = OmegaConf.create({"acquisition": settings, "pool": {"space": "pose"}})
    acquisition: Acquisition = make(run.acquisition)
    candidates = make_pool(acquisition, count)
    start = time.perf_counter()
    chosen = acquisition.select(candidates, budget, np.random.default_rng(1))
    seconds = time.perf_counter() - start
    if len(set(chosen)) != budget:
        raise RuntimeError(f"{name} selected {len(set(chosen))} different images of {budget}")
    return seconds, read_peak_bytes() / 2**20


def main() -> None:
    """Measure every acquisition of conf/acquisition that has a column in a pool of poses."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("names", nargs="*", help="acquisitions; without a name all but those for classes")
    parser.add_argument("--small", action="store_true", help="only 20,000 candidates and 100 of them")
    options = parser.parse_args()
    count, budget = (20_000, 100) if options.small else (COUNT, BUDGET)
    everything = sorted(path.stem for path in (conf_dir() / "acquisition").glob("*.yaml"))
    for name in options.names or everything:
        seconds = []
        for _ in range(options.rounds):
            taken, peak = run_in_process(measure, name, count, budget)
            seconds.append(taken)
        print_result(
            f"acquisition_{name}", min(seconds), "s", candidates=count, labelled=LABELLED_COUNT, budget=budget,
            peak_mib=peak, rounds=options.rounds,
        )  # fmt: skip


if __name__ == "__main__":
    main()
