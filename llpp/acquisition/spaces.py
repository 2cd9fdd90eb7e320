"""Where candidates are near each other: in what they show, or in the poses that they are predicted to have.

N candidates, L labelled images, D dimensions, K joints.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import LABELLED, TARGET
from llpp.errors import expect
from llpp.types import Candidates

Points = NDArray[np.float32]
Rows = NDArray[np.int64]
SPACES = ("pose", "embedding")
VALUES_AT_ONCE = 2**21  # of the points that are prepared together: 8 MiB


@dataclass(frozen=True)
class PointSet:
    """Points of a space, prepared a few at a time: they may be mapped from a file that is larger than memory."""

    values: Points  # (N, …) as they were scored
    mean: Points | None  # (D,) subtracted before each is scaled to length 1; None: they stay as they are

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(np.prod(self.values.shape[1:]))

    def prepare(self, rows: Rows | slice) -> Points:
        """Return some of the points (n, D).

        Raises:
            ValueError: points that are not finite, which are near to nothing.
        """
        points = np.array(self.values[rows], dtype=np.float32).reshape(-1, self.dimensions)
        bad = int((~np.isfinite(points).all(axis=1)).sum())
        if bad:
            raise ValueError(f"{bad} of {len(points)} candidates have points that are not finite")
        if self.mean is not None:
            points -= self.mean
            lengths = np.linalg.norm(points, axis=1, keepdims=True)
            # A point at the mean has no direction; it stays there.
            points /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return points

    def iterate(self, values_per_point: int) -> Iterator[tuple[slice, Points]]:
        """Yield all points in order, as many at once as leave room for so many values of each."""
        step = max(1, VALUES_AT_ONCE // max(1, values_per_point, self.dimensions))
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            yield part, self.prepare(part)


@dataclass(frozen=True)
class Space:
    """`pose`: predicted joints around their mean, as shares of the crop's side.

    `embedding`: embeddings less the candidates' mean, of length 1.
    """

    name: str

    def __post_init__(self) -> None:
        expect(self.name in SPACES, "acquisition.space", self.name, " or ".join(SPACES))

    @property
    def needs(self) -> frozenset[str]:
        """What of Candidates it takes."""
        return frozenset({self.name})

    @property
    def needs_of_labelled(self) -> frozenset[str]:
        """What of Candidates the points of the labelled images take, which is another pass."""
        return frozenset({LABELLED + self.name})

    @property
    def needs_of_target(self) -> frozenset[str]:
        """What of Candidates the points of the target take."""
        return frozenset({TARGET + self.name})

    def get_points(self, candidates: Candidates) -> tuple[PointSet, PointSet, PointSet]:
        """Return the points of the candidates, of the labelled images and of the target, if there are any."""
        if self.name == "pose":
            values = candidates.columns.get("pose")
            labelled = candidates.columns.get("labelled_pose")
            target = candidates.columns.get("target_pose")
        else:
            values = candidates.embedding
            labelled = candidates.labelled_embedding
            target = candidates.target_embedding
        if values is None:
            raise ValueError(f"acquisition.space={self.name} needs candidates with that column")
        mean = None
        if self.name == "embedding" and len(values):
            mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        others = [values[:0] if points is None else points for points in (labelled, target)]
        return PointSet(values, mean), PointSet(others[0], mean), PointSet(others[1], mean)
