"""k-means of a pool: centres from a sample of it, then the nearest centre of every point.

N points, G centres, D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.spaces import Points, PointSet

Labels = NDArray[np.int64]
SAMPLE = 2**16  # points that decide the centres
SEEDING_SAMPLE = 2**13  # of these, where the centres start
ITERATIONS = 20


def cluster(points: PointSet, count: int, rng: np.random.Generator) -> tuple[Points, Labels]:
    """Return G centres (G, D), at most `count`, and the number of each point's nearest centre (N,).

    k-means++ (Arthur & Vassilvitskii, SODA 2007), then Lloyd's iterations, on a random sample of 65,536 points.
    Memory is that of the sample, and one number per point.
    """
    rows = np.arange(len(points))
    if len(points) > SAMPLE:
        rows = np.sort(rng.choice(len(points), SAMPLE, replace=False))
    sample = points.prepare(rows)
    centres = _move_centres(sample, _seed_centres(sample, count, rng))
    labels = np.empty(len(points), dtype=np.int64)
    for part, some in points.iterate(len(centres)):
        labels[part] = find_nearest_centres(some, centres)
    return centres, labels


def find_nearest_centres(points: Points, centres: Points) -> Labels:
    """Return the number of each point's nearest centre (N,); the first of equals."""
    squared = points @ (-2 * centres.T)
    squared += np.vecdot(centres, centres)
    nearest: Labels = squared.argmin(axis=1)
    return nearest


def _seed_centres(sample: Points, count: int, rng: np.random.Generator) -> Points:
    """Draw centres one by one, each with probability ∝ its squared distance to the nearest one so far."""
    if len(sample) > SEEDING_SAMPLE:
        sample = sample[rng.choice(len(sample), SEEDING_SAMPLE, replace=False)]
    if not len(sample):
        return sample
    chosen = [int(rng.integers(len(sample)))]
    nearest = np.full(len(sample), np.inf)
    while len(chosen) < count:
        difference = sample - sample[chosen[-1]]
        nearest = np.minimum(nearest, np.vecdot(difference, difference))
        total = nearest.sum()
        # Fewer different points than centres.
        if total == 0:
            break
        chosen.append(int(rng.choice(len(sample), p=nearest / total)))
    return sample[chosen]


def _move_centres(sample: Points, centres: Points) -> Points:
    """Move each centre to the mean of its points until none of them changes its centre; an empty one stays."""
    before = None
    for _ in range(ITERATIONS):
        labels = np.concatenate([find_nearest_centres(part, centres) for part in _split(sample, len(centres))])
        if before is not None and np.array_equal(labels, before):
            break
        before = labels
        # Sorted by centre, the points of each are a slice.
        order = np.argsort(labels, kind="stable")
        numbers, starts = np.unique(labels[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        counts = np.diff([*starts, len(order)])
        centres = centres.copy()
        centres[numbers] = sums / counts[:, None]
    return centres


def _split(points: Points, values_per_point: int) -> list[Points]:
    pieces = max(1, len(points) * values_per_point // 2**22)
    return np.array_split(points, pieces)
