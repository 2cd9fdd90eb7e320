"""k-centre greedy on embeddings (Sener & Savarese, ICLR 2018, Algorithm 1), exact but lazy.

N points, L centres, D dimensions. A point's distance to its nearest centre can only shrink, so its distance to any of
the centres stays an upper bound. The first few centres bound all points, the others only those that may still be
among the farthest, which are few. Picks are then made among the points with the largest bounds, for as long as the
best of them beats every other point's bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.k_centre import Points, check_finite, choose_first_picks, compute_slack

Rows = NDArray[np.int64]
UNIT_ROUNDOFF = 2.0**-24  # of float32
FIRST_CENTRES = 64  # centres that bound all points
CENTRES_AT_ONCE = 256  # centres that bound a point before the bound is compared again
DISTANCES_AT_ONCE = 2**20  # 4 MiB: a product that stays in the cache
SAMPLE = 2**16  # points whose mean is subtracted from all
BLOCK = 1024  # points of the first block, which is picked from without looking at the others
SMALLEST_BLOCK = 64
LARGEST_BLOCK = 8192


def k_centre_greedy(points: Points, centres: Points | None, budget: int, first: int | None = None) -> list[int]:
    """Return rows of `points` (N, D) in the order of selection, given the `centres` (L, D) of the labelled set.

    The picks are those of the plain algorithm with Σ(x - c)² in float32 for every pair, ties included: these
    distances decide, and matrix products only show which of them cannot matter. Memory in addition to the inputs is
    O(N + L·D + block·D); a block stays small unless more points than it holds tie for the maximum. `points` may be a
    memory-mapped file: it is read from front to back a few times, then at single rows.

    Raises:
        ValueError: embeddings that are not finite.
    """
    points = np.asarray(points)
    budget = min(budget, len(points))
    if budget == 0:
        return []
    labelled = points[:0] if centres is None else centres
    picks = choose_first_picks(len(labelled), first)
    pool = _Pool.from_points(points, labelled)
    bounds = _Bounds.build(len(points))
    known = np.concatenate([labelled, points[picks]])
    size = BLOCK
    while len(picks) < budget:
        bounds.upper[picks] = -np.inf
        bounds.tighten_largest(pool, known, size)
        block = _Block.build(pool, bounds.upper, size, known)
        new_picks = block.pick(budget - len(picks))
        known = np.concatenate([known, points[new_picks]])
        picks += new_picks
        size = _choose_block_size(size, len(new_picks), budget - len(picks))
    return picks


def _choose_block_size(size: int, picked: int, remaining: int) -> int:
    """Return the size of the next block, where the last one of `size` points gave `picked` picks."""
    if picked == 0:
        # More points than the block holds may be the farthest.
        return max(4 * size, SMALLEST_BLOCK)
    return max(min(2 * picked, 4 * remaining, LARGEST_BLOCK), SMALLEST_BLOCK)


@dataclass(frozen=True)
class _Pool:
    """All points, and what turns |x|² + |c|² - 2 x·c in float32 into bounds."""

    points: Points
    mean: Points  # (D,) subtracted to keep |x|² and with it the slack small
    norms: Points  # (N,) squared lengths of the centred points
    slack: np.float32  # see `compute_slack`

    @classmethod
    def from_points(cls, points: Points, centres: Points) -> "_Pool":
        """Check and prepare (N, D) points; `centres` are only checked."""
        for name, values in (("candidate", points), ("labelled", centres)):
            finite = np.isfinite(values.sum(axis=1))
            check_finite(name, int((~finite).sum()), len(values))
        sample = points[:: 1 + len(points) // SAMPLE]
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        norms = np.empty(len(points), dtype=np.float32)
        step = max(1, DISTANCES_AT_ONCE // points.shape[1])
        for start in range(0, len(points), step):
            centred = points[start : start + step] - mean
            norms[start : start + step] = np.vecdot(centred, centred)
        slack = np.float32(compute_slack(points.shape[1], UNIT_ROUNDOFF))
        return cls(points, mean, norms, slack)

    def compute_factors(self, centres: Points) -> tuple[Points, Points]:
        """Return -2 c as columns (D, L) and |c|² (L,) of the centred `centres`."""
        centred = centres - self.mean
        return -2 * centred.T, np.vecdot(centred, centred)


@dataclass(frozen=True)
class _Bounds:
    """Upper bounds of the points' squared distances to the nearest of the known centres."""

    upper: Points  # (N,) -inf once picked
    applied: NDArray[np.int32]  # (N,) how many of the known centres, from the first on, a bound takes into account

    @classmethod
    def build(cls, count: int) -> "_Bounds":
        """Return the bounds of points to which no centre was applied yet."""
        return cls(np.full(count, np.inf, dtype=np.float32), np.zeros(count, dtype=np.int32))

    def tighten_largest(self, pool: _Pool, centres: Points, size: int) -> None:
        """Tighten until the `size` largest bounds take all of `centres` (L, D) into account."""
        if not self.applied.any():
            self._tighten(pool, None, centres, 0, min(FIRST_CENTRES, len(centres)))
        limit = -np.inf
        if len(self.upper) > 2 * size:
            # The largest bounds come first: once they are tight, most others fall below the limit that they set.
            largest = np.sort(np.argpartition(self.upper, -2 * size)[-2 * size :])
            self._apply_all(pool, centres, largest, limit)
            limit = float(np.partition(self.upper[largest], -size)[-size])
        above_limit = np.flatnonzero(self.upper >= limit)
        self._apply_all(pool, centres, above_limit, limit)

    def _apply_all(self, pool: _Pool, centres: Points, rows: Rows, limit: float) -> None:
        """Apply all centres to `rows`, except to those whose bounds fall below `limit` on the way."""
        while True:
            incomplete = self.applied[rows] < len(centres)
            rows = rows[incomplete & (self.upper[rows] >= limit)]
            if len(rows) == 0:
                return
            start = int(self.applied[rows].min())
            stop = min(start + CENTRES_AT_ONCE, len(centres))
            behind = rows[self.applied[rows] < stop]
            self._tighten(pool, behind, centres, start, stop)

    def _tighten(self, pool: _Pool, rows: Rows | None, centres: Points, start: int, stop: int) -> None:
        """Apply the centres from `start` to `stop` to `rows` (all if None) that already know those before."""
        factors, norms = pool.compute_factors(centres[start:stop])
        upper_norms = norms * (1 + pool.slack)
        step = max(1, DISTANCES_AT_ONCE // max(len(norms), len(factors)))
        count = len(self.upper) if rows is None else len(rows)
        for low in range(0, count, step):
            # All points are read through slices, which copy nothing.
            part: slice | Rows = slice(low, low + step)
            if rows is not None:
                part = rows[low : low + step]
            squared = (pool.points[part] - pool.mean) @ factors
            squared += upper_norms
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
    outside_bound: float  # the largest bound of any other point
    outside_row: int  # the first row with that bound

    @classmethod
    def build(cls, pool: _Pool, upper: Points, size: int, centres: Points) -> "_Block":
        """Take the `size` points with the largest of the `upper` (N,) bounds, the earlier of equals first."""
        if size >= len(upper):
            rows = np.arange(len(upper))
            outside_bound = -np.inf
            outside_row = 0
        else:
            outside_bound = float(np.partition(upper, -size - 1)[-size - 1])
            above = np.flatnonzero(upper > outside_bound)
            equal = np.flatnonzero(upper == outside_bound)
            remaining = size - len(above)
            rows = np.sort(np.concatenate([above, equal[:remaining]]))
            outside_row = int(equal[remaining])
        centred = pool.points[rows] - pool.mean
        nearest = _compute_nearest_distances(pool, rows, centred, centres)
        nearest[np.isneginf(upper[rows])] = -np.inf
        return cls(pool, rows, centred, nearest, outside_bound, outside_row)

    def pick(self, budget: int) -> list[int]:
        """Return up to `budget` rows in the order of selection; fewer once a point outside may be farther."""
        picks: list[int] = []
        slack = self.pool.slack
        lower_norms = self.pool.norms[self.rows] * (1 - slack)
        while len(picks) < budget:
            best = int(self.nearest.argmax())
            row = int(self.rows[best])
            farthest = float(self.nearest[best])
            # Of equals the earlier row comes first, inside the block or outside.
            if (farthest, -row) < (self.outside_bound, -self.outside_row):
                break
            picks.append(row)
            self.nearest[best] = -np.inf
            # Only points whose lower bound is below their distance so far can get nearer to a centre by this pick.
            lower = self.centred @ (-2 * self.centred[best])
            lower += lower_norms + lower_norms[best]
            closer = np.flatnonzero(lower < self.nearest)
            squared = _compute_squared_distances(self.pool.points[self.rows[closer]], self.pool.points[row])
            self.nearest[closer] = np.minimum(self.nearest[closer], squared)
        return picks


def _compute_nearest_distances(pool: _Pool, rows: Rows, centred: Points, centres: Points) -> Points:
    """Compute the deciding distances (R,) of `rows`, whose points are `centred` (R, D), to the nearest centre.

    Only pairs whose lower bound does not exceed the row's smallest upper bound are measured, mostly one per row.
    """
    factors, norms = pool.compute_factors(centres)
    nearest = np.empty(len(rows), dtype=np.float32)
    row_step = max(1, DISTANCES_AT_ONCE // len(centres))
    pair_step = max(1, DISTANCES_AT_ONCE // centres.shape[1])
    for start in range(0, len(rows), row_step):
        part = slice(start, start + row_step)
        # First the upper bounds less |x|², then in the same memory the lower ones.
        bounds = centred[part] @ factors
        bounds += norms * (1 + pool.slack)
        limit = bounds.min(axis=1) + 2 * pool.slack * pool.norms[rows[part]]
        bounds -= norms * (2 * pool.slack)
        row, centre = np.nonzero(bounds <= limit[:, None])
        squared = np.empty(len(row), dtype=np.float32)
        for low in range(0, len(row), pair_step):
            pairs = slice(low, low + pair_step)
            pair_rows = rows[part][row[pairs]]
            squared[pairs] = _compute_squared_distances(pool.points[pair_rows], centres[centre[pairs]])
        first_pairs = np.searchsorted(row, np.arange(len(limit)))
        nearest[part] = np.minimum.reduceat(squared, first_pairs)
    return nearest


def _compute_squared_distances(points: Points, centres: Points) -> Points:
    """Compute Σ(x - c)² of (P, D) pairs; the same for a pair wherever it stands in its arrays."""
    difference = points - centres
    squared: Points = np.vecdot(difference, difference)
    return squared
