"""Time to select 1,000 of 20,000 and of a million points beside 2,000 labelled ones, 256 dimensions."""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Timing, make_parser, print_result, read_peak_bytes, time_variants
from llpp.acquisition.core_set import k_centre_greedy

DIMENSIONS = 256
CHUNK = 2048  # rows that are converted to double precision at once
LABELLED, BUDGET, MILLION = 2000, 1000, 1_000_000
Points = NDArray[np.float32]
Features = Callable[[int, np.random.Generator], Points]


def draw_isotropic(count: int, rng: np.random.Generator) -> Points:
    """What a ReLU leaves of white noise."""
    return np.maximum(rng.standard_normal((count, DIMENSIONS), dtype=np.float32), 0)


def draw_rank_16(count: int, rng: np.random.Generator) -> Points:
    """Sixteen directions that matter, and noise in all."""
    factors = rng.standard_normal((count, 16)) @ rng.standard_normal((16, DIMENSIONS))
    return (factors + 0.1 * rng.standard_normal((count, DIMENSIONS))).astype(np.float32)


def compute_distances(points: Points, centres: Points) -> Points:
    """All Euclidean distances (N, L): float32 in and out, worked out in double precision chunk by chunk."""
    result = np.empty((len(points), len(centres)), dtype=np.float32)
    wide = centres.astype(np.float64)
    norms = np.einsum("ld,ld->l", wide, wide)
    for start in range(0, len(points), CHUNK):
        part = points[start : start + CHUNK].astype(np.float64)
        squared = -2 * (part @ wide.T) + np.einsum("nd,nd->n", part, part)[:, None] + norms
        result[start : start + CHUNK] = np.sqrt(np.maximum(squared, 0))
    return result


def select_pairwise(points: Points, centres: Points, budget: int) -> list[int]:
    """The textbook form: the whole distance matrix first, then all points again for every pick."""
    nearest = compute_distances(points, centres).min(axis=1)
    picks: list[int] = []
    for _ in range(budget):
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, compute_distances(points, points[picks[-1:]])[:, 0])
    return picks


def compute_radius(points: Points, centres: Points, picks: list[int]) -> float:
    """Largest distance of a point to its nearest centre or pick."""
    known = np.concatenate([centres, points[picks]])
    return max(
        float(compute_distances(points[s : s + CHUNK], known).min(axis=1).max()) for s in range(0, len(points), CHUNK)
    )


def compare(name: str, features: Features, small: bool, rounds: int) -> None:
    """Time both on the same features and hold their picks against each other."""
    count, labelled, budget = (2000, 200, 100) if small else (20_000, LABELLED, BUDGET)
    everything = features(count + labelled, np.random.default_rng(0))
    points, centres = everything[:count], everything[count:]
    found: dict[str, list[int]] = {}
    times = time_variants(
        {
            "ours": lambda: found.update(ours=k_centre_greedy(points, centres, budget)),
            "pairwise": lambda: found.update(pairwise=select_pairwise(points, centres, budget)),
        },
        rounds,
    )
    ours, theirs = found["ours"], found["pairwise"]
    ties = [place for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    radii = [compute_radius(points, centres, picks) for picks in (ours, theirs)]
    if ties and (set(ours) != set(theirs) or abs(radii[0] - radii[1]) > 1e-4 * radii[1]):
        raise RuntimeError(f"{name}: other picks at places {ties[:10]}; the covering radii are {radii}")
    print_result(
        f"core_set_{name}", times["ours"].seconds, "s", "pairwise distances in numpy",
        times["pairwise"].seconds / times["ours"].seconds, points=count, labelled=labelled, budget=budget,
        dimensions=DIMENSIONS, pairwise_s=times["pairwise"].seconds, ties_picked_otherwise=ties,
        radius=radii[0], radius_pairwise=radii[1],
        blas_threads="all cores", **times["ours"].notes,
    )  # fmt: skip


def time_memory_pass(points: Points) -> float:
    """Seconds in which a copy, which reads and writes, passes as many bytes as `points` have."""
    part = points[: 64 * CHUNK]
    copy, seconds = np.empty_like(part), []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(copy, part)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / (2 * part.nbytes) * points.nbytes


def measure_large_pool(name: str, features: Features, count: int, rounds: int) -> None:
    """Time a large pool and the memory that it takes; what makes its picks greedy ones is checked on a sample."""
    rng = np.random.default_rng(0)
    points = np.empty((count, DIMENSIONS), dtype=np.float32)
    for start in range(0, count, CHUNK):
        points[start : start + CHUNK] = features(min(CHUNK, count - start), rng)
    centres, before = features(LABELLED, rng), read_peak_bytes()
    seconds, picks = [], list[int]()
    for _ in range(rounds):
        start_s = time.perf_counter()
        picks = k_centre_greedy(points, centres, BUDGET)
        seconds.append(time.perf_counter() - start_s)
    extra, once = read_peak_bytes() - before, time_memory_pass(points)
    known = np.concatenate([centres, points[picks]])
    to_known = compute_distances(points[picks], known)
    to_known[np.triu_indices_from(to_known, LABELLED)] = np.inf
    at_pick = to_known.min(axis=1)  # how far each was from all before it
    sample = compute_distances(points[rng.choice(count, 20_000, replace=False)], known[:-1]).min(axis=1).max()
    if (np.diff(at_pick) > 1e-4 * at_pick[0]).any() or sample > at_pick[-1] * (1 + 1e-4):
        raise RuntimeError(f"{name}: a point that was left out is farther than one that was picked")
    times = Timing(tuple(seconds))
    print_result(
        f"core_set_1m_{name}", times.seconds, "s", points=count, labelled=LABELLED, budget=BUDGET,
        dimensions=DIMENSIONS, embeddings_mib=points.nbytes / 2**20, extra_memory_mib=extra / 2**20,
        radius=float(at_pick[-1]), of_memory_limit=once / times.seconds, gb_per_s=points.nbytes / once / 1e9,
        blas_threads="all cores", **times.notes,
    )  # fmt: skip


def main() -> None:
    """Measure on two kinds of features; a large pool in a process of its own, for the sake of its memory."""
    kinds: dict[str, Features] = {"isotropic": draw_isotropic, "rank_16": draw_rank_16}
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--small", action="store_true", help="2,000 points, 200 labelled, 100 picks")
    parser.add_argument("--large", choices=kinds, help="only a million points of this kind")
    options = parser.parse_args()
    if options.large:
        measure_large_pool(options.large, kinds[options.large], MILLION, options.rounds)
        return
    for name, features in kinds.items():
        compare(name, features, options.small, options.rounds)
    for name in () if options.small else kinds:
        command = [sys.executable, "-m", "benchmarks.core_set", "--large", name, "--rounds", str(options.rounds)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
