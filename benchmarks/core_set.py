"""Time to select 1,000 of 20,000 and of a million points with 2,000 labelled ones, 256 dimensions."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import (
    make_parser,
    print_result,
    read_peak_bytes,
    run_in_process,
    time_rounds,
    time_variants,
)
from llpp.acquisition.k_centre_on_host import k_centre_greedy

DIMENSIONS = 256
CHUNK = 2048  # rows that are drawn, or converted to double precision, at once
LABELLED = 2000
BUDGET = 1000
MILLION = 1_000_000
SAMPLE = 20_000  # points of a large pool whose distances are checked
TOLERANCE = 1e-4  # relative
Points = NDArray[np.float32]


def draw_points(count: int, rng: np.random.Generator) -> Points:
    """Draw white noise and cut it off at zero, as a ReLU does."""
    points = np.empty((count, DIMENSIONS), dtype=np.float32)
    for start in range(0, count, CHUNK):
        part = points[start : start + CHUNK]
        np.maximum(rng.standard_normal(part.shape, dtype=np.float32), 0, out=part)
    return points


def compute_distances(points: Points, centres: Points) -> Points:
    """Compute all Euclidean distances (N, L): float32 in and out, in double precision chunk by chunk."""
    result = np.empty((len(points), len(centres)), dtype=np.float32)
    wide = centres.astype(np.float64)
    norms = np.einsum("ld,ld->l", wide, wide)
    for start in range(0, len(points), CHUNK):
        part = points[start : start + CHUNK].astype(np.float64)
        squared = -2 * (part @ wide.T) + np.einsum("nd,nd->n", part, part)[:, None] + norms
        result[start : start + CHUNK] = np.sqrt(np.maximum(squared, 0))
    return result


def select_pairwise(points: Points, centres: Points, budget: int) -> list[int]:
    """Select in the textbook form: the whole distance matrix first, then all points again for every pick."""
    nearest = compute_distances(points, centres).min(axis=1)
    picks: list[int] = []
    for _ in range(budget):
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, compute_distances(points, points[picks[-1:]])[:, 0])
    return picks


def compare(count: int, labelled: int, budget: int, rounds: int) -> None:
    """Time llpp and the textbook on the same points; fail unless they pick the same set."""
    everything = draw_points(count + labelled, np.random.default_rng(0))
    points = everything[:count]
    centres = everything[count:]
    picks: dict[str, list[int]] = {}
    variants = {
        "llpp": lambda: picks.update(llpp=k_centre_greedy(points, centres, budget)),
        "pairwise": lambda: picks.update(pairwise=select_pairwise(points, centres, budget)),
    }
    times = time_variants(variants, rounds)
    if set(picks["llpp"]) != set(picks["pairwise"]):
        raise RuntimeError("llpp and the textbook pick different sets")
    ratio = times["pairwise"].seconds / times["llpp"].seconds
    print_result(
        "core_set_isotropic", times["llpp"].seconds, "s", "pairwise distances in numpy", ratio,
        points=count, labelled=labelled, budget=budget, dimensions=DIMENSIONS, **times["llpp"].notes,
    )  # fmt: skip


def measure_large_pool(count: int, rounds: int) -> None:
    """Time a large pool and its memory; fail if a pick is not the farthest point, as far as a sample shows."""
    rng = np.random.default_rng(0)
    points = draw_points(count, rng)
    centres = draw_points(LABELLED, rng)
    before = read_peak_bytes()
    picks: list[int] = []

    def select() -> None:
        picks[:] = k_centre_greedy(points, centres, BUDGET)

    times = time_rounds(select, rounds)
    extra = read_peak_bytes() - before

    known = np.concatenate([centres, points[picks]])
    distances = compute_distances(points[picks], known)
    distances[np.triu_indices_from(distances, LABELLED)] = np.inf  # of each pick, to what was known before it
    at_pick = distances.min(axis=1)
    sample = points[rng.choice(count, SAMPLE, replace=False)]
    left_out = compute_distances(sample, known[:-1]).min(axis=1).max()
    if (np.diff(at_pick) > TOLERANCE * at_pick[0]).any() or left_out > at_pick[-1] * (1 + TOLERANCE):
        raise RuntimeError("a point that was left out is farther away than one that was picked")
    print_result(
        "core_set_1m_isotropic", times.seconds, "s", points=count, labelled=LABELLED, budget=BUDGET,
        dimensions=DIMENSIONS, embeddings_mib=points.nbytes / 2**20, extra_memory_mib=extra / 2**20, **times.notes,
    )  # fmt: skip


def main() -> None:
    """Measure a small pool over the textbook, and a large one in a fresh process, for the sake of its memory."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--small", action="store_true", help="only 2,000 points, 200 labelled, 100 picks")
    options = parser.parse_args()
    if options.small:
        compare(2000, 200, 100, options.rounds)
        return
    compare(20_000, LABELLED, BUDGET, options.rounds)
    run_in_process(measure_large_pool, MILLION, options.rounds)


if __name__ == "__main__":
    main()
