"""Images of a ranking that look like others of the same batch are passed over.

N images of a project, R of them in the ranking. Likeness is measured on thumbnails: these need neither a model nor
another pass over the pool, are the same in every round, and two frames of a film that look alike at 32 × 32 pixels
have nearly the same pose. Distances between thumbnails are whole numbers, so they are equal on every machine.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Flat = NDArray[np.float64]  # (n, D) thumbnails as rows of grey values
PAIRS = 4000  # random pairs that say which distances are small
NEAR_SHARE = 0.05  # of these pairs are near
DISTANCE_SHARES = (1.0, 0.5, 0.25, 0.125, 0.0)  # of the near distance, where too few images are left
BLOCK = 512  # images of the ranking that are compared at once


@dataclass(frozen=True)
class Surroundings:
    """When and in what film N images were taken, and what they look like."""

    films: NDArray[np.int32]  # (N,) equal numbers for frames of one film
    seconds: NDArray[np.float64]  # (N,) time in the film; NaN for images
    thumbnails: NDArray[np.uint8]  # (N, h, w)

    def flatten(self, rows: Rows) -> Flat:
        """Return thumbnails as rows of numbers; float64 holds sums of their products exactly."""
        return self.thumbnails[rows].reshape(len(rows), -1).astype(np.float64)


def pass_over(
    ranked: Rows,
    budget: int,
    films: NDArray[np.int32],
    seconds: NDArray[np.float64],
    thumbnails: NDArray[np.uint8],
    taken: Rows,
    gap: float,
) -> tuple[Rows, int]:
    """Go down a ranking and choose what differs from all that is chosen or taken already.

    An image is passed over if another one of the same film is less than `gap` seconds away, or if its thumbnail is
    nearer to another one than those of nearly all random pairs in the ranking (19 of 20) are to each other. If too
    few remain, those that were passed over get another chance, at half that distance, at a quarter, and so on; the
    last ones fill the budget in the order of the ranking, whatever they are close to.

    Args:
        ranked: (R,) rows of the N images, most wanted first.
        budget: how many to choose.
        films: (N,) equal numbers for frames of one film.
        seconds: (N,) time in the film; NaN for images.
        thumbnails: (N, h, w) grey.
        taken: rows of the images that people have been asked for and have not answered.
        gap: seconds.

    Returns:
        The chosen rows in the order of the ranking, and how many images that are above the last of them were passed
        over.
    """
    surroundings = Surroundings(films, seconds, thumbnails)
    is_chosen = np.zeros(len(ranked), dtype=bool)
    near = _find_near_distance(surroundings, ranked)
    for share in DISTANCE_SHARES:
        places = np.flatnonzero(~is_chosen)
        known = np.concatenate([taken, ranked[is_chosen]])
        missing = budget - int(is_chosen.sum())
        limit = near * share**2
        found = _walk(surroundings, ranked[places], missing, known, gap, limit)
        is_chosen[places[found]] = True
    missing = max(budget - int(is_chosen.sum()), 0)
    is_chosen[np.flatnonzero(~is_chosen)[:missing]] = True
    chosen = np.flatnonzero(is_chosen)
    passed_over = int(chosen[-1]) + 1 - len(chosen) if len(chosen) else 0
    return ranked[chosen], passed_over


def _walk(surroundings: Surroundings, ranked: Rows, budget: int, known: Rows, gap: float, limit: float) -> list[int]:
    """Return the places in `ranked` of up to `budget` images that are close neither to `known` ones nor to others."""
    chosen: list[int] = []
    for start in range(0, len(ranked), BLOCK):
        if len(chosen) >= budget:
            break
        block = ranked[start : start + BLOCK]
        others = np.concatenate([known, ranked[chosen]])
        is_repeat = np.any(_find_close(surroundings, block, others, gap, limit), axis=1)
        is_close = _find_close(surroundings, block, block, gap, limit)
        for place in range(len(block)):
            if len(chosen) < budget and not is_repeat[place]:
                chosen.append(start + place)
                is_repeat |= is_close[place]
    return chosen


def _find_near_distance(surroundings: Surroundings, ranked: Rows) -> float:
    """Return the squared distance below which thumbnails are near; 0 if there are no pairs."""
    if len(ranked) < 2:
        return 0.0
    # The pairs depend on nothing but the images, so that a repeated command chooses the same ones.
    digest = hashlib.sha256(surroundings.thumbnails[ranked].tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    first = rng.integers(len(ranked), size=PAIRS)
    shift = rng.integers(1, len(ranked), size=PAIRS)
    second = (first + shift) % len(ranked)
    squared = np.empty(PAIRS)
    for start in range(0, PAIRS, BLOCK):
        part = slice(start, start + BLOCK)
        difference = surroundings.flatten(ranked[first[part]]) - surroundings.flatten(ranked[second[part]])
        squared[part] = np.vecdot(difference, difference)
    return float(np.quantile(squared, NEAR_SHARE, method="lower"))


def _find_close(surroundings: Surroundings, rows: Rows, others: Rows, gap: float, limit: float) -> NDArray[np.bool_]:
    """Return which of `rows` (n,) are too close to which of `others` (m,): (n, m)."""
    films = surroundings.films
    seconds = surroundings.seconds
    is_close = np.zeros((len(rows), len(others)), dtype=bool)
    points = surroundings.flatten(rows)
    norms = np.vecdot(points, points)
    for start in range(0, len(others), BLOCK):
        part = slice(start, start + BLOCK)
        other = others[part]
        other_points = surroundings.flatten(other)
        squared = norms[:, None] + np.vecdot(other_points, other_points) - 2 * points @ other_points.T
        # Where many pairs are equal the limit is 0, and equal thumbnails are near all the same.
        is_near = (squared < limit) | (squared == 0)
        is_same_film = films[rows][:, None] == films[other]
        # Images have no time, and a comparison with NaN is false.
        is_soon = np.abs(seconds[rows][:, None] - seconds[other]) < gap
        is_close[:, part] = is_near | (is_same_film & is_soon)
    return is_close
