"""k-centre greedy on embeddings (Sener & Savarese, ICLR 2018, Algorithm 1), exact but lazy.

N points, L centres, D dimensions. A point's distance to its nearest centre only ever shrinks, so an old value
stays an upper bound. Each pass bounds all points by one matrix product, then picks among the few with the largest
bounds for as long as the best of them beats every other point's bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition
from llpp.acquisition.core_set_on_device import k_centre_greedy_on, roomy_gpu
from llpp.types import Candidates

Points = NDArray[np.float32]
Rows = NDArray[np.int64]
CENTRES_AT_ONCE = 2048
DISTANCES_AT_ONCE = 2**20  # 4 MiB: a product that stays in the cache
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
        if gpu := roomy_gpu(candidates.embedding):
            picks = k_centre_greedy_on(gpu, candidates.embedding, labelled, budget, first)
        else:
            picks = k_centre_greedy(candidates.embedding, labelled, budget, first)
        return [candidates.ids[i] for i in picks]


def k_centre_greedy(points: Points, centres: Points | None, budget: int, first: int | None = None) -> list[int]:
    """Rows of `points` (N, D) in the order of selection, given `centres` (L, D) that are there already.

    Picks are those of the plain algorithm with Σ(x - c)² in float32 for every pair, ties included: such distances
    decide, and products of matrices only tell which of them cannot matter. Memory beside the inputs is
    O(N + L·D + block·D); the block stays small unless more points than that tie for the maximum.
    """
    budget = min(budget, len(points))
    if budget == 0:
        return []
    given = points[:0] if centres is None else centres
    picks = [] if first is None and len(given) else [first or 0]
    pool = _Pool.of(points, given)
    bound = np.full(len(points), np.inf, dtype=np.float32)
    new, size = np.concatenate([given, points[picks]]), BLOCK
    while len(picks) < budget:
        pool.tighten(bound, new)
        bound[picks] = -np.inf
        block = _Block.of(pool, bound, size, np.concatenate([given, points[picks]]))
        made = block.picks(budget - len(picks))
        size = min(max(2 * len(made), SMALLEST_BLOCK), LARGEST_BLOCK) if made else 4 * size
        new = points[made]
        picks += made
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
    def of(cls, points: Points, centres: Points) -> "_Pool":
        """Check and prepare (N, D) points; `centres` are only checked."""
        for name, values in (("candidate", points), ("labelled", centres)):
            if broken := int((~np.isfinite(values.sum(axis=1))).sum()):
                raise ValueError(f"{broken} of {len(values)} {name} embeddings are not finite")
        mean = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        norms = np.empty(len(points), dtype=np.float32)
        for start in range(0, len(points), CENTRES_AT_ONCE):
            centred = points[start : start + CENTRES_AT_ONCE] - mean
            norms[start : start + CENTRES_AT_ONCE] = np.vecdot(centred, centred)
        return cls(points, mean, norms, np.float32(4 * (points.shape[1] + 16) * 2.0**-24))

    def tighten(self, bound: Points, centres: Points) -> None:
        """Lower the upper bounds (N,) to those of the distances to `centres`."""
        for start in range(0, len(centres), CENTRES_AT_ONCE):
            factors, norms = self.columns(centres[start : start + CENTRES_AT_ONCE])
            norms = norms * (1 + self.slack)
            step = max(1, DISTANCES_AT_ONCE // len(norms))
            for low in range(0, len(bound), step):
                part = slice(low, low + step)
                squared = (self.points[part] - self.mean) @ factors
                squared += norms
                nearest = squared.min(axis=1) + self.norms[part] * (1 + self.slack)
                np.minimum(bound[part], nearest, out=bound[part])

    def columns(self, centres: Points) -> tuple[Points, Points]:
        """-2 c as columns (D, L), and |c|² (L,), centred."""
        centred = centres - self.mean
        return -2 * centred.T, np.vecdot(centred, centred)


@dataclass(frozen=True)
class _Block:
    """The points with the largest bounds, with their deciding distances."""

    pool: _Pool
    rows: Rows  # (R,) ascending, so that the first maximum is the earliest point
    centred: Points  # (R, D)
    nearest: Points  # (R,) squared distance to the nearest centre, -inf once picked
    outside: tuple[float, int]  # the largest bound of any other point, and the first row that has it

    @classmethod
    def of(cls, pool: _Pool, bound: Points, size: int, centres: Points) -> "_Block":
        """`size` points by bound, the earlier of equals first."""
        if size >= len(bound):
            rows, outside = np.arange(len(bound)), (-np.inf, 0)
        else:
            limit = np.partition(bound, -size - 1)[-size - 1]
            above, equal = np.flatnonzero(bound > limit), np.flatnonzero(bound == limit)
            rows = np.sort(np.concatenate([above, equal[: size - len(above)]]))
            outside = (float(limit), int(equal[size - len(above)]))
        centred = pool.points[rows] - pool.mean
        nearest = _nearest(pool, rows, centred, centres)
        nearest[np.isneginf(bound[rows])] = -np.inf
        return cls(pool, rows, centred, nearest, outside)

    def picks(self, budget: int) -> list[int]:
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
            squared = _squared(self.pool.points[self.rows[near]], self.pool.points[row])
            self.nearest[near] = np.minimum(self.nearest[near], squared)
        return picks


def _nearest(pool: _Pool, rows: Rows, centred: Points, centres: Points) -> Points:
    """Deciding distances (R,) of some rows to their nearest of `centres` (L, D).

    Only pairs whose lower bound does not exceed the row's smallest upper bound are worked out, mostly one per row.
    """
    factors, norms = pool.columns(centres)
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
            squared[some] = _squared(pool.points[rows[part][row[some]]], centres[centre[some]])
        nearest[part] = np.minimum.reduceat(squared, np.searchsorted(row, np.arange(len(limit))))
    return nearest


def _squared(points: Points, centres: Points) -> Points:
    """Σ(x - c)² of (P, D) pairs; the same for a pair wherever it stands in its arrays."""
    difference = points - centres
    squared: Points = np.vecdot(difference, difference)
    return squared
