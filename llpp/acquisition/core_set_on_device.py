"""k-centre greedy as in `core_set`, for a GPU: the host waits once in many picks.

N points, L centres, D dimensions, a block of R points. What decides is Σ(x - c)², worked out in double precision and
rounded to float32, so that the order in which a device adds up does not matter. Equals go to the earlier point. On
the CPU the sum is in float32: where two distances agree to its last digits, and only there, its picks may be others.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Points = NDArray[np.float32]
BLOCK = 16384  # points picked from without looking at the others; 32 MiB at 256 dimensions stay in a GPU's cache
UNCHECKED_PICKS = 64  # picks between looks at whether they hold
VALUES_AT_ONCE = 2**25  # of a product or a copy, 256 MiB in double precision


def find_gpu_with_room(points: Points) -> torch.device | None:
    """The GPU that this process works with already, if it has room for (N, D) points; otherwise None."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    torch.cuda.empty_cache()  # what training has kept for its next step
    free, _ = torch.cuda.mem_get_info()
    needed = points.nbytes + 32 * len(points) + 6 * 8 * VALUES_AT_ONCE
    return torch.device("cuda", torch.cuda.current_device()) if needed < free else None


def k_centre_greedy_on_device(
    device: torch.device, points: Points, centres: Points | None, budget: int, first: int | None = None
) -> list[int]:
    """As `core_set.k_centre_greedy`, with (N, D) points and (L, D) centres copied to `device`."""
    return pick_centres(
        copy_to_device(points, device),
        copy_to_device(points[:0] if centres is None else centres, device),
        budget,
        first,
    )


def pick_centres(points: Tensor, given: Tensor, budget: int, first: int | None = None) -> list[int]:
    """Rows of `points` (N, D) in the order of selection, beside `given` centres (L, D); float32 on one device."""
    budget = min(budget, len(points))
    if budget == 0:
        return []
    picks = [] if first is None and len(given) else [first or 0]
    pool = _Pool.from_points(points, given)
    bound = torch.full((len(points),), torch.inf, device=points.device)
    known = torch.cat([given, pool.points[picks]])
    new, size = known, BLOCK
    while len(picks) < budget:
        pool.tighten(bound, new)
        bound[picks] = -torch.inf
        made = _pick_from_block(pool, bound, known, size, budget - len(picks))
        size = size if made else 4 * size
        new = pool.points[made]
        known = torch.cat([known, new])
        picks += made
    return picks


def copy_to_device(points: Points, device: torch.device) -> Tensor:
    """(N, D) on the device, piece by piece: they may be mapped from a file that is larger than memory."""
    there = torch.empty(points.shape, dtype=torch.float32, device=device)
    step = max(1, VALUES_AT_ONCE // max(1, points.shape[1]))
    for low in range(0, len(points), step):
        there[low : low + step] = torch.from_numpy(np.array(points[low : low + step], dtype=np.float32))
    return there


@dataclass(frozen=True)
class _Pool:
    """All points, and what turns |x|² + |c|² - 2 x·c in double precision into bounds of the deciding distances."""

    points: Tensor  # (N, D) float32
    mean: Tensor  # (D,) float64, subtracted to keep |x|² and with it the slack small
    slack: float  # the expression is wrong by less than this share of |x|² + |c|²

    @classmethod
    def from_points(cls, points: Tensor, centres: Tensor) -> "_Pool":
        """Check and prepare; `centres` are only checked."""
        for name, values in (("candidate", points), ("labelled", centres)):
            if broken := int((~values.sum(dim=1, dtype=torch.float64).isfinite()).sum()):
                raise ValueError(f"{broken} of {len(values)} {name} embeddings are not finite")
        return cls(points, points.mean(dim=0, dtype=torch.float64), 4 * (points.shape[1] + 16) * 2.0**-53)

    def tighten(self, bound: Tensor, centres: Tensor) -> None:
        """Lower the upper bounds (N,) to those of the distances to `centres`."""
        width = max(1, len(self.mean))
        for start in range(0, len(centres), BLOCK):
            factors, norms = self.compute_factors(centres[start : start + BLOCK])
            step = max(1, VALUES_AT_ONCE // max(len(norms), width))
            for low in range(0, len(bound), step):
                centred, own = self.subtract_mean(self.points[low : low + step])
                squared = torch.addmm(norms * (1 + self.slack), centred, factors).amin(dim=1)
                squared += own * (1 + self.slack)
                part = bound[low : low + step]
                torch.minimum(part, squared.float(), out=part)

    def subtract_mean(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(P, D) in double precision less the mean, and their squared lengths (P,)."""
        centred = points.double() - self.mean
        return centred, centred.square().sum(dim=1)

    def compute_factors(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """-2 c as columns (D, L), and |c|² (L,), centred."""
        centred, norms = self.subtract_mean(centres)
        return -2 * centred.T, norms

    def compute_nearest_distances(self, rows: Tensor, centres: Tensor) -> Tensor:
        """Deciding distances (R,) of some rows to their nearest of `centres` (L, D).

        Only pairs whose lower bound does not exceed the row's smallest upper bound are worked out: mostly one a row.
        """
        factors, norms = self.compute_factors(centres)
        found = torch.full((len(rows),), torch.inf, device=rows.device)
        step = max(1, VALUES_AT_ONCE // max(len(centres), len(self.mean), 1))
        pairs = max(1, VALUES_AT_ONCE // max(1, len(self.mean)))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            centred, own = self.subtract_mean(self.points[part])
            squared = torch.addmm(norms, centred, factors) + own[:, None]
            doubt = self.slack * (norms + own[:, None])
            row, centre = ((squared - doubt) <= (squared + doubt).amin(dim=1, keepdim=True)).nonzero(as_tuple=True)
            for low in range(0, len(row), pairs):
                some, other = row[low : low + pairs], centre[low : low + pairs]
                exact = _compute_squared_distances(self.points[part[some]].double(), centres[other].double())
                found[start : start + step].scatter_reduce_(0, some, exact, "amin")
        return found


def _compute_squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Deciding distances of (P, D) pairs."""
    squared: Tensor = torch.linalg.vector_norm(points - centres, dim=1).square().float()
    return squared


def _pick_from_block(pool: _Pool, bound: Tensor, centres: Tensor, size: int, budget: int) -> list[int]:
    """Up to `budget` rows in the order of selection; fewer as soon as a point outside the block may be farther."""
    order = torch.sort(bound, descending=True, stable=True)  # the earlier of equals first
    rows = order.indices[:size].sort().values  # ascending, so that the first maximum is the earliest point
    outside = (order.values[size], order.indices[size]) if size < len(bound) else None
    nearest = torch.where(bound[rows] == -torch.inf, bound[rows], pool.compute_nearest_distances(rows, centres))
    block = pool.points[rows].double()
    picks: list[int] = []
    while len(picks) < budget:
        farthest, places = _pick_unchecked(block, nearest, min(UNCHECKED_PICKS, budget - len(picks)))
        chosen, holds = rows[places], torch.ones_like(farthest, dtype=torch.bool)
        if outside is not None:
            holds = (farthest > outside[0]) | ((farthest == outside[0]) & (chosen < outside[1]))
        sure = int(holds.long().cumprod(dim=0).sum())
        picks += chosen[:sure].tolist()
        if sure < len(holds):
            break
    return picks


def _pick_unchecked(block: Tensor, nearest: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The next `count` picks of a block (R, D), as distances and places, none of which the host has seen.

    `nearest` (R,) follows them, with -inf for those picked.
    """
    values, places = [], []
    for _ in range(count):
        value, place = nearest.max(dim=0, keepdim=True)  # the first of equals
        values.append(value)
        places.append(place)
        torch.minimum(nearest, _compute_squared_distances(block, block.index_select(0, place)), out=nearest)
        nearest.index_fill_(0, place, -torch.inf)
    return torch.cat(values), torch.cat(places)
