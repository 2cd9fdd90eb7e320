"""Greedy coverage of weighted anchors, lazily.

A anchors, C candidates, L labelled points, D dimensions. With k(a, b) = exp(-‖a - b‖² / h²), the value of a set S is
F(S) = Σ_a w_a · max over b in L ∪ S of k(a, b). Each pick has the highest gain in F. F is submodular: a candidate's
gain only shrinks, so one computed earlier bounds it from above, and only those whose bound is among the highest are
computed again (Minoux 1978).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.spaces import Points

GAINS_AT_ONCE = 32
VALUES_AT_ONCE = 2**22  # of a kernel: 16 MiB


@dataclass(frozen=True)
class Coverage:
    """How well weighted anchors are covered."""

    anchors: Points  # (A, D)
    weights: Points  # (A,)
    width: float  # h
    covered: Points  # (A,) by the labelled points, 0 to 1

    @classmethod
    def build(cls, anchors: Points, weights: NDArray[np.floating], labelled: Points) -> "Coverage":
        """Cover the anchors by the labelled points (L, D).

        h is the median distance of an anchor to its nearest labelled point; without any, that to the mean anchor.
        """
        covers = labelled if len(labelled) else anchors.mean(axis=0, keepdims=True)
        nearest = np.full(len(anchors), np.inf, dtype=np.float32)
        step = max(1, VALUES_AT_ONCE // max(1, len(anchors)))
        for start in range(0, len(covers), step):
            squared = _compute_squared_distances(anchors, covers[start : start + step])
            np.minimum(nearest, squared.min(axis=1), out=nearest)
        width = float(np.sqrt(np.median(nearest)))
        if width**2 < np.finfo(np.float32).tiny:
            # Most anchors are labelled points themselves: any width keeps the others apart from them.
            width = 1.0
        covered = np.exp(nearest / np.float32(-(width**2)))
        if not len(labelled):
            covered = np.zeros_like(nearest)
        return cls(anchors, weights.astype(np.float32), width, covered)

    def compute_kernel(self, points: Points) -> Points:
        """Return k(a, p) of all anchors and (P, D) points: (A, P)."""
        squared = _compute_squared_distances(self.anchors, points)
        squared *= np.float32(-1 / self.width**2)
        kernel: Points = np.exp(squared, out=squared)
        return kernel

    def compute_gains(self, points: Points, covered: Points) -> Points:
        """Return what each of (P, D) points would add to F, where anchors are `covered` (A,): (P,)."""
        gains = np.empty(len(points), dtype=np.float32)
        step = max(1, VALUES_AT_ONCE // max(1, len(self.anchors)))
        for start in range(0, len(points), step):
            kernel = self.compute_kernel(points[start : start + step])
            kernel -= covered[:, None]
            np.maximum(kernel, 0, out=kernel)
            gains[start : start + step] = self.weights @ kernel
        return gains

    def pick(self, candidates: Points, budget: int) -> list[int]:
        """Return the rows of `candidates` (C, D) in the order of selection; the first of equals wins."""
        covered = self.covered.copy()
        bounds = self.compute_gains(candidates, covered)
        exact = np.ones(len(candidates), dtype=np.bool_)
        picks: list[int] = []
        while len(picks) < min(budget, len(candidates)):
            best = int(bounds.argmax())
            if exact[best]:
                picks.append(best)
                covered = np.maximum(covered, self.compute_kernel(candidates[best : best + 1])[:, 0])
                bounds[best] = -np.inf
                exact[:] = False
                continue
            highest = np.argpartition(-bounds, min(GAINS_AT_ONCE, len(bounds) - 1))[:GAINS_AT_ONCE]
            # Those picked already have no gain. Among many equal bounds, the best may not be one of the highest.
            unknown = highest[~exact[highest] & np.isfinite(bounds[highest])]
            unknown = np.union1d(unknown, [best])
            bounds[unknown] = self.compute_gains(candidates[unknown], covered)
            exact[unknown] = True
        return picks


def _compute_squared_distances(points: Points, others: Points) -> Points:
    """Return ‖p - o‖² of all pairs: (P, D), (O, D) → (P, O)."""
    squared = points @ (-2 * others.T)
    squared += np.vecdot(points, points)[:, None]
    squared += np.vecdot(others, others)
    # Rounding makes some of those of equal points negative.
    positive: Points = np.maximum(squared, 0, out=squared)
    return positive
