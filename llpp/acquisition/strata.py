"""Spending most of a budget evenly over the parts of a pool."""

import math

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
SHARE = 0.66  # of the budget, spread evenly; as in ClaSP PE (TMLR 2026)
FEWEST = 8


def count_strata(budget: int) -> int:
    """Return how many strata a budget is spread over: its square root, and 8 at least."""
    return max(FEWEST, round(math.sqrt(budget)))


def pick_stratified(keys: NDArray[np.float64], strata: NDArray[np.int64], budget: int) -> Rows:
    """Return the rows of `budget` of N candidates, given their keys (N,) and the number of their strata (N,).

    66 % of the budget goes round the strata, to the highest key of each, then to the next highest; where a stratum is
    used up, the others get more. The rest goes to the highest keys that are left. Both parts are mixed in the order
    of selection, so that its beginning is such a selection, too.
    """
    budget = min(budget, len(keys))
    if len(np.unique(strata)) <= 1:
        return _find_highest(keys, np.arange(len(keys)), budget)
    count = round(SHARE * budget)
    place = _rank_within(keys, strata, count)
    # All first places come before all second ones; within a place the highest key is first.
    contenders = np.flatnonzero(place < count)
    order = np.lexsort((-keys[contenders], place[contenders]))
    spread = contenders[order[:count]]

    others = np.ones(len(keys), dtype=np.bool_)
    others[spread] = False
    free = _find_highest(keys, np.flatnonzero(others), budget - count)

    rows = np.concatenate([spread, free])
    share_before = np.concatenate([_spread_evenly(len(spread)), _spread_evenly(len(free))])
    return rows[np.argsort(share_before, kind="stable")]


def _rank_within(keys: NDArray[np.float64], strata: NDArray[np.int64], count: int) -> Rows:
    """Return how many keys of its own stratum are higher (N,), for the `count` highest of each; N for all others."""
    place = np.full(len(keys), len(keys), dtype=np.int64)
    order = np.argsort(strata, kind="stable")
    ends = np.cumsum(np.bincount(strata)) if len(strata) else np.zeros(0, dtype=np.int64)
    for members in np.split(order, ends[:-1]):
        highest = _find_highest(keys, members, count)
        place[highest] = np.arange(len(highest))
    return place


def _find_highest(keys: NDArray[np.float64], rows: Rows, count: int) -> Rows:
    """Return those of `rows` with the `count` highest keys, in descending order."""
    if 0 < count < len(rows):
        rows = rows[np.argpartition(keys[rows], len(rows) - count)[len(rows) - count :]]
    return rows[np.argsort(-keys[rows], kind="stable")][:count]


def _spread_evenly(count: int) -> NDArray[np.float64]:
    """Return where in an order each of `count` items stands, 0 to 1."""
    return (np.arange(count) + 0.5) / max(1, count)
