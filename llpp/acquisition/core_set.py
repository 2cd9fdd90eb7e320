"""k-centre greedy on embeddings (Sener & Savarese, ICLR 2018, Algorithm 1), exact but lazy.

N points, L centres, D dimensions. A point's distance to its nearest centre only ever shrinks, so the distance to any
of the centres stays an upper bound. All points are bounded by the first few centres, and by the others only those
that may still be among the farthest, which are few. Then picks are made among the points with the largest bounds for
as long as the best of them beats every other point's bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition
from llpp.acquisition.core_set_on_device import find_gpu_with_room, k_centre_greedy_on_device
from llpp.types import Candidates

Points = NDArray[np.float32]
Rows = NDArray[np.int64]
FIRST_CENTRES, CENTRES_AT_ONCE = 64, 256  # that bound all points; that bound a point before it is looked at again
DISTANCES_AT_ONCE = 2**20  # 4 MiB: a product that stays in the cache
SAMPLE = 2**16  # points whose mean is subtracted from all
BLOCK, SMALLEST_BLOCK, LARGEST_BLOCK = 1024, 64, 8192  # points picked from without looking at the others


class CoreSetAcquisition(Acquisition):
    """Label, one after the other, the candidate farthest from everything labelled or chosen so far.

    A process that works with a GPU looks for them there, if the embeddings fit. Memory is the embeddings plus a few
    values per candidate. Ties go to the earlier candidate; with nothing labelled the first centre is drawn at random.
    """

    needs = frozenset({"embedding", "labelled_embedding"})

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        if candidates.embedding is None:
            raise ValueError("core_set needs candidates with an embedding")
        labelled = candidates.labelled_embedding
        first = None if labelled is not None and len(labelled) else int(rng.integers(max(1, len(candidates.ids))))
        if gpu := find_gpu_with_room(candidates.embedding):
            picks = k_centre_greedy_on_device(gpu, candidates.embedding, labelled, budget, first)
        else:
            picks = k_centre_greedy(candidates.embedding, labelled, budget, first)
        return [candidates.ids[i] for i in picks]


def k_centre_greedy(points: Points, centres: Points | None, budget: int, first: int | None = None) -> list[int]:
    """Rows of `points` (N, D) in the order of selection, given `centres` (L, D) that are there already.

    Picks are those of the plain algorithm with Σ(x - c)² in float32 for every pair, ties included: such distances
    decide, and products of matrices only tell which of them cannot matter. Memory beside the inputs is
    O(N + L·D + block·D); the block stays small unless more points than that tie for the maximum. `points` may be a
    memory-mapped file: it is read from the front a few times, and then here and there.
    """
    points = np.asarray(points)
    budget = min(budget, len(points))
    if budget == 0:
        return []
    given = points[:0] if centres is None else centres
    picks = [] if first is None and len(given) else [first or 0]
    pool, bounds = _Pool.from_points(points, given), _Bounds.build(len(points))
    known, size = np.concatenate([given, points[picks]]), BLOCK
    while len(picks) < budget:
        bounds.upper[picks] = -np.inf
        bounds.tighten_largest(pool, known, size)
        made = _Block.build(pool, bounds.upper, size, known).pick(budget - len(picks))
        known = np.concatenate([known, points[made]])
        picks += made
        size = min(2 * len(made), 4 * (budget - len(picks)), LARGEST_BLOCK) if made else 4 * size
        size = max(size, SMALLEST_BLOCK)
    return picks


@dataclass(frozen=True)
class _Pool:
    """All points, and what turns |x|² + |c|² - 2 x·c in float32 into bounds.

    That expression is wrong by less than `slack` · (|x|² + |c|²), whatever the order of summation: D + 3 roundings
    of 2⁻²⁴ in each dot product, one in centring each vector, and D + 2 in the deciding distance itself.
    """

    points: Points
    mean: Points  # (D,) subtracted to keep |x|² and with it the slack small
    norms: Points  # (N,) of the centred points
    slack: np.float32

    @classmethod
    def from_points(cls, points: Points, centres: Points) -> "_Pool":
        """Check and prepare (N, D) points; `centres` are only checked."""
        for name, values in (("candidate", points), ("labelled", centres)):
            if broken := int((~np.isfinite(values.sum(axis=1))).sum()):
                raise ValueError(f"{broken} of {len(values)} {name} embeddings are not finite")
        mean = points[:: 1 + len(points) // SAMPLE].mean(axis=0, dtype=np.float64).astype(np.float32)
        norms = np.empty(len(points), dtype=np.float32)
        step = max(1, DISTANCES_AT_ONCE // points.shape[1])
        for start in range(0, len(points), step):
            centred = points[start : start + step] - mean
            norms[start : start + step] = np.vecdot(centred, centred)
        return cls(points, mean, norms, np.float32(4 * (points.shape[1] + 16) * 2.0**-24))

    def compute_factors(self, centres: Points) -> tuple[Points, Points]:
        """-2 c as columns (D, L), and |c|² (L,), centred."""
        centred = centres - self.mean
        return -2 * centred.T, np.vecdot(centred, centred)


@dataclass(frozen=True)
class _Bounds:
    """Upper bounds of the points' squared distances to the nearest of the known centres."""

    upper: Points  # (N,) -inf once picked
    applied: NDArray[np.int32]  # (N,) how many of the known centres, from the first on, a bound takes into account

    @classmethod
    def build(cls, count: int) -> "_Bounds":
        """Of points that have met no centre."""
        return cls(np.full(count, np.inf, dtype=np.float32), np.zeros(count, dtype=np.int32))

    def tighten_largest(self, pool: _Pool, centres: Points, size: int) -> None:
        """Tighten until the `size` largest bounds take all of `centres` (L, D) into account."""
        if not self.applied.any():
            self._tighten(pool, slice(None), centres, 0, min(FIRST_CENTRES, len(centres)))
        limit = -np.inf
        if len(self.upper) > 2 * size:
            some = np.sort(np.argpartition(self.upper, -2 * size)[-2 * size :])
            self._apply_all(pool, centres, some, limit)
            limit = float(np.partition(self.upper[some], -size)[-size])
        self._apply_all(pool, centres, np.flatnonzero(self.upper >= limit), limit)

    def _apply_all(self, pool: _Pool, centres: Points, rows: Rows, limit: float) -> None:
        """Apply all centres to some rows, but for those whose bounds fall below `limit` meanwhile."""
        while len(rows := rows[(self.applied[rows] < len(centres)) & (self.upper[rows] >= limit)]):
            start = int(self.applied[rows].min())
            stop = min(start + CENTRES_AT_ONCE, len(centres))
            self._tighten(pool, rows[self.applied[rows] < stop], centres, start, stop)

    def _tighten(self, pool: _Pool, rows: Rows | slice, centres: Points, start: int, stop: int) -> None:
        """Apply the centres from `start` to `stop` to rows that know those before."""
        factors, norms = pool.compute_factors(centres[start:stop])
        norms = norms * (1 + pool.slack)
        step = max(1, DISTANCES_AT_ONCE // max(len(norms), len(factors)))
        for low in range(0, len(self.upper) if isinstance(rows, slice) else len(rows), step):
            part = slice(low, low + step) if isinstance(rows, slice) else rows[low : low + step]
            squared = (pool.points[part] - pool.mean) @ factors
            squared += norms
            nearest = squared.min(axis=1) + pool.norms[part] * (1 + pool.slack)
            self.upper[part] = np.minimum(self.upper[part], nearest)
            self.applied[part] = stop


@dataclass(frozen=True)
class _Block:
    """The points with the largest bounds, with their deciding distances."""

    pool: _Pool
    rows: Rows  # (R,) ascending, so that the first maximum is the earliest point
    centred: Points  # (R, D)
    nearest: Points  # (R,) squared distance to the nearest centre, -inf once picked
    outside: tuple[float, int]  # the largest bound of any other point, and the first row that has it

    @classmethod
    def build(cls, pool: _Pool, bound: Points, size: int, centres: Points) -> "_Block":
        """`size` points by bound, the earlier of equals first."""
        if size >= len(bound):
            rows, outside = np.arange(len(bound)), (-np.inf, 0)
        else:
            limit = np.partition(bound, -size - 1)[-size - 1]
            above, equal = np.flatnonzero(bound > limit), np.flatnonzero(bound == limit)
            rows = np.sort(np.concatenate([above, equal[: size - len(above)]]))
            outside = (float(limit), int(equal[size - len(above)]))
        centred = pool.points[rows] - pool.mean
        nearest = _compute_nearest_distances(pool, rows, centred, centres)
        nearest[np.isneginf(bound[rows])] = -np.inf
        return cls(pool, rows, centred, nearest, outside)

    def pick(self, budget: int) -> list[int]:
        """Up to `budget` rows in the order of selection; fewer as soon as a point outside may be farther."""
        picks: list[int] = []
        norms, slack = self.pool.norms[self.rows], self.pool.slack
        low_norms = norms * (1 - slack)
        while len(picks) < budget:
            best = int(self.nearest.argmax())
            row, farthest = int(self.rows[best]), float(self.nearest[best])
            if (farthest, -row) < (self.outside[0], -self.outside[1]):
                break
            picks.append(row)
            self.nearest[best] = -np.inf
            lower = self.centred @ (-2 * self.centred[best])
            lower += low_norms + low_norms[best]
            near = np.flatnonzero(lower < self.nearest)
            squared = _compute_squared_distances(self.pool.points[self.rows[near]], self.pool.points[row])
            self.nearest[near] = np.minimum(self.nearest[near], squared)
        return picks


def _compute_nearest_distances(pool: _Pool, rows: Rows, centred: Points, centres: Points) -> Points:
    """Deciding distances (R,) of some rows to their nearest of `centres` (L, D).

    Only pairs whose lower bound does not exceed the row's smallest upper bound are worked out, mostly one per row.
    """
    factors, norms = pool.compute_factors(centres)
    nearest = np.empty(len(rows), dtype=np.float32)
    step = max(1, DISTANCES_AT_ONCE // len(centres))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        upper = centred[part] @ factors
        upper += norms * (1 + pool.slack)
        limit = upper.min(axis=1) + 2 * pool.slack * pool.norms[rows[part]]
        upper -= norms * (2 * pool.slack)
        row, centre = np.nonzero(upper <= limit[:, None])
        squared = np.empty(len(row), dtype=np.float32)
        pairs = max(1, DISTANCES_AT_ONCE // centres.shape[1])
        for low in range(0, len(row), pairs):
            some = slice(low, low + pairs)
            squared[some] = _compute_squared_distances(pool.points[rows[part][row[some]]], centres[centre[some]])
        nearest[part] = np.minimum.reduceat(squared, np.searchsorted(row, np.arange(len(limit))))
    return nearest


def _compute_squared_distances(points: Points, centres: Points) -> Points:
    """Σ(x - c)² of (P, D) pairs; the same for a pair wherever it stands in its arrays."""
    difference = points - centres
    squared: Points = np.vecdot(difference, difference)
    return squared
