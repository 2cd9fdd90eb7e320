"""Choose images that look different from each other, by their thumbnails.

N images, of which F are chosen already.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.project.index import THUMBNAIL

Rows = NDArray[np.int64]


def choose_diverse(
    thumbnails: NDArray[np.uint8],
    seconds: NDArray[np.float64],
    films: Sequence[str],
    count: int,
    gap: float,
    first: Sequence[int] | Rows = (),
) -> Rows:
    """Choose images one after the other, each the farthest from all that are chosen: up to `count` rows, in order.

    The same arguments give the same rows; of equally far images, the one with the lowest row is taken.

    Args:
        thumbnails: (N, 32, 32) grey.
        seconds: (N,) times in their films; NaN for images of no film.
        films: (N,) film of each; empty for images of no film.
        count: how many to choose; there are fewer if no other one is far enough in time.
        gap: seconds that two chosen frames of one film are apart, at least.
        first: (F,) rows that are chosen already, and not in the result; with none, the first one is that nearest to
            the mean of all.
    """
    # Sums of products of grey values are whole numbers, which float64 holds exactly: every machine chooses the same.
    points = thumbnails.reshape(len(thumbnails), THUMBNAIL * THUMBNAIL).astype(np.float64)
    norms = np.vecdot(points, points)
    names = np.asarray(list(films), dtype=np.str_)
    distance = np.full(len(points), np.inf)
    is_free = np.ones(len(points), dtype=np.bool_)

    def take(row: int) -> None:
        squared = norms + norms[row] - 2 * (points @ points[row])
        np.minimum(distance, squared, out=distance)
        is_free[row] = False
        if names[row]:
            is_near = (names == names[row]) & (np.abs(seconds - seconds[row]) < gap)
            is_free[is_near] = False

    for row in first:
        take(int(row))
    chosen: list[int] = []
    while len(chosen) < count and is_free.any():
        if np.isinf(distance[0]):
            mean = points.mean(axis=0)
            from_mean = norms - 2 * (points @ mean)
            row = int(np.argmin(from_mean))
        else:
            row = int(np.argmax(np.where(is_free, distance, -1.0)))
        take(row)
        chosen.append(row)
    return np.array(chosen, dtype=np.int64)
