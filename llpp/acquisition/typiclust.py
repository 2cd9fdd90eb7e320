"""TypiClust (Hacohen, Dekel & Weinshall, ICML 2022): typical images of clusters that have no label yet."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition
from llpp.acquisition.k_means import cluster, find_nearest_centres
from llpp.acquisition.spaces import Points, PointSet, Space
from llpp.errors import expect
from llpp.types import Candidates

Rows = NDArray[np.int64]
MOST_CLUSTERS = 500
NEIGHBOURS = 20
SMALLEST_CLUSTER = 5  # images; smaller ones are outliers, which are taken last
MOST_MEMBERS = 1024  # images of a cluster that are compared with each other


class TypiclustAcquisition(Acquisition):
    """From each cluster in turn, the image with the highest 1 / mean distance to its 20 nearest neighbours.

    There are as many clusters as images will be labelled, 500 at most. Those with the fewest labelled images come
    first, and of these the largest. It looks at no loss: for a first model, and as a control. Unlike in the published
    code, clusters are made of the candidates alone, and labelled images assigned to them; a second image of a cluster
    is the next typical one, without another comparison; and of a cluster of more than 1,024 candidates so many are
    drawn and compared.
    """

    def __init__(self, space: str = "embedding", clusters: int = MOST_CLUSTERS) -> None:
        expect(type(clusters) is int and clusters >= 1, "acquisition.clusters", clusters, "a whole number, 1 or more")
        self.space = Space(space)
        self.clusters = clusters
        self.needs = self.space.needs | self.space.needs_of_labelled

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        points, labelled, _ = self.space.get_points(candidates)
        count = min(len(labelled) + budget, self.clusters)
        if count == 0 or not len(points):
            return []
        centres, labels = cluster(points, count, rng)
        known = np.zeros(len(centres), dtype=np.int64)
        for _, some in labelled.iterate(len(centres)):
            known += np.bincount(find_nearest_centres(some, centres), minlength=len(centres))
        members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=len(centres))))
        rows = pick_typical(points, members[: len(centres)], known, budget, rng)
        return [candidates.ids[row] for row in rows]


def pick_typical(
    points: PointSet, members: list[Rows], known: NDArray[np.int64], budget: int, rng: np.random.Generator
) -> list[int]:
    """Return up to `budget` rows in the order of selection, given the rows in each cluster and its labelled images.

    Clusters with 5 candidates or fewer come after all others.
    """
    sizes = np.array([len(rows) for rows in members])
    large = sizes > SMALLEST_CLUSTER
    order = np.lexsort((-sizes, known, ~large))
    large_count = int(large.sum())
    picks = _take_turns(points, [members[number] for number in order[:large_count]], budget, rng)
    picks += _take_turns(points, [members[number] for number in order[large_count:]], budget - len(picks), rng)
    return picks


def _take_turns(points: PointSet, clusters: list[Rows], budget: int, rng: np.random.Generator) -> list[int]:
    """Take the most typical image that is left of each cluster in turn, until budget or clusters are used up."""
    picks: list[int] = []
    left = [_iterate_typical(points, rows, rng) for rows in clusters]
    while left:
        unused = []
        for cluster_rows in left:
            if len(picks) >= budget:
                return picks
            row = next(cluster_rows, None)
            if row is not None:
                picks.append(row)
                unused.append(cluster_rows)
        left = unused
    return picks


def _iterate_typical(points: PointSet, rows: Rows, rng: np.random.Generator) -> Iterator[int]:
    """Yield the rows of a cluster, the most typical first; nothing is computed before the first is asked for."""
    later = rows[:0]
    if len(rows) > MOST_MEMBERS:
        shuffled = rng.permutation(rows)
        rows = np.sort(shuffled[:MOST_MEMBERS])
        later = shuffled[MOST_MEMBERS:]
    order = np.argsort(-compute_typicality(points.prepare(rows)), kind="stable")
    yield from rows[order].tolist()
    yield from later.tolist()


def compute_typicality(points: Points) -> NDArray[np.float32]:
    """Return 1 / mean distance to the nearest others (P,) of (P, D) points: 20 of them, or half of all if fewer."""
    count = min(NEIGHBOURS, len(points) // 2)
    if count == 0:
        return np.ones(len(points), dtype=np.float32)
    squared = points @ (-2 * points.T)
    norms = np.vecdot(points, points)
    squared += norms[:, None]
    squared += norms
    np.maximum(squared, 0, out=squared)
    np.fill_diagonal(squared, np.inf)
    nearest = np.sqrt(np.partition(squared, count - 1, axis=1)[:, :count])
    typicality: NDArray[np.float32] = 1 / (nearest.mean(axis=1) + np.float32(1e-5))
    return typicality
