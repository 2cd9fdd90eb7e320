"""k-centre greedy as in `core_set`, for a GPU: the host waits once in many picks.

N points, L centres, D dimensions, a block of R points. The deciding distance is Σ(x - c)², computed in double
precision and rounded to float32, so that the order in which a device adds up does not matter. Ties go to the earlier
point. On the CPU the sum is in float32: where two distances agree to its last digits, and only there, the picks may
differ.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llpp.acquisition.k_centre import Points, check_finite, choose_first_picks, compute_slack

UNIT_ROUNDOFF = 2.0**-53  # of float64
BLOCK = 16384  # points picked from without looking at the others; 32 MiB at 256 dimensions stay in a GPU's cache
UNCHECKED_PICKS = 64  # picks that are queued before the host checks whether they hold
VALUES_AT_ONCE = 2**25  # of a product or a copy, 256 MiB in double precision


def find_gpu_with_room(points: Points, centres: Points | None) -> torch.device | None:
    """Return the GPU that this process already works with, if it has room for (N, D) points and (L, D) centres."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    # Training keeps memory for its next step, which counts as used until it is given back.
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    # Centres are copied once more when picks join them.
    centre_bytes = 0 if centres is None else centres.nbytes
    needed = points.nbytes + 2 * centre_bytes + 32 * len(points) + 6 * 8 * VALUES_AT_ONCE
    if needed >= free:
        return None
    return torch.device("cuda", torch.cuda.current_device())


def k_centre_greedy_on_device(
    device: torch.device, points: Points, centres: Points | None, budget: int, first: int | None = None
) -> list[int]:
    """Run `k_centre_on_host.k_centre_greedy` on `device`, to which (N, D) points and (L, D) centres are copied."""
    if centres is None:
        centres = points[:0]
    return pick_centres(copy_to_device(points, device), copy_to_device(centres, device), budget, first)


def pick_centres(points: Tensor, labelled: Tensor, budget: int, first: int | None = None) -> list[int]:
    """Return rows of `points` (N, D) in the order of selection, given `labelled` (L, D); float32 on one device."""
    budget = min(budget, len(points))
    if budget == 0:
        return []
    picks = choose_first_picks(len(labelled), first)
    pool = _Pool.from_points(points, labelled)
    upper = torch.full((len(points),), torch.inf, device=points.device)
    known = torch.cat([labelled, pool.points[picks]])
    new_centres = known
    size = BLOCK
    while len(picks) < budget:
        pool.tighten(upper, new_centres)
        upper[picks] = -torch.inf
        new_picks = _pick_from_block(pool, upper, known, size, budget - len(picks))
        if not new_picks:
            # More points than the block holds may be the farthest.
            size = 4 * size
        new_centres = pool.points[new_picks]
        known = torch.cat([known, new_centres])
        picks += new_picks
    return picks


def copy_to_device(points: Points, device: torch.device) -> Tensor:
    """Copy (N, D) points piece by piece: they may be mapped from a file that is larger than memory."""
    result = torch.empty(points.shape, dtype=torch.float32, device=device)
    step = max(1, VALUES_AT_ONCE // max(1, points.shape[1]))
    for low in range(0, len(points), step):
        part = np.array(points[low : low + step], dtype=np.float32)
        result[low : low + step] = torch.from_numpy(part)
    return result


@dataclass(frozen=True)
class _Pool:
    """All points, and what turns |x|² + |c|² - 2 x·c in double precision into bounds of the deciding distances."""

    points: Tensor  # (N, D) float32
    mean: Tensor  # (D,) float64, subtracted to keep |x|² and with it the slack small
    slack: float  # see `compute_slack`

    @classmethod
    def from_points(cls, points: Tensor, centres: Tensor) -> "_Pool":
        """Check and prepare (N, D) points; `centres` are only checked."""
        for name, values in (("candidate", points), ("labelled", centres)):
            finite = values.sum(dim=1, dtype=torch.float64).isfinite()
            check_finite(name, int((~finite).sum()), len(values))
        return cls(points, points.mean(dim=0, dtype=torch.float64), compute_slack(points.shape[1], UNIT_ROUNDOFF))

    def tighten(self, upper: Tensor, centres: Tensor) -> None:
        """Lower the upper bounds (N,) to those of the distances to `centres`, where these are lower."""
        width = max(1, len(self.mean))
        for start in range(0, len(centres), BLOCK):
            factors, centre_norms = self.compute_factors(centres[start : start + BLOCK])
            step = max(1, VALUES_AT_ONCE // max(len(centre_norms), width))
            for low in range(0, len(upper), step):
                centred, norms = self.subtract_mean(self.points[low : low + step])
                squared = torch.addmm(centre_norms * (1 + self.slack), centred, factors).amin(dim=1)
                squared += norms * (1 + self.slack)
                part = upper[low : low + step]
                torch.minimum(part, squared.float(), out=part)

    def subtract_mean(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return (P, D) points less the mean, in double precision, and their squared lengths (P,)."""
        centred = points.double() - self.mean
        return centred, centred.square().sum(dim=1)

    def compute_factors(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Return -2 c as columns (D, L) and |c|² (L,) of the centred `centres`."""
        centred, norms = self.subtract_mean(centres)
        return -2 * centred.T, norms

    def compute_nearest_distances(self, rows: Tensor, centres: Tensor) -> Tensor:
        """Compute the deciding distances (R,) of `rows` to their nearest of `centres` (L, D).

        Only pairs whose lower bound does not exceed the row's smallest upper bound are measured, mostly one per row.
        """
        factors, centre_norms = self.compute_factors(centres)
        nearest = torch.full((len(rows),), torch.inf, device=rows.device)
        row_step = max(1, VALUES_AT_ONCE // max(len(centres), len(self.mean), 1))
        pair_step = max(1, VALUES_AT_ONCE // max(1, len(self.mean)))
        for start in range(0, len(rows), row_step):
            part = rows[start : start + row_step]
            centred, norms = self.subtract_mean(self.points[part])
            squared = torch.addmm(centre_norms, centred, factors) + norms[:, None]
            error = self.slack * (centre_norms + norms[:, None])
            smallest_upper = (squared + error).amin(dim=1, keepdim=True)
            row, centre = ((squared - error) <= smallest_upper).nonzero(as_tuple=True)
            for low in range(0, len(row), pair_step):
                pair_rows = row[low : low + pair_step]
                pair_centres = centre[low : low + pair_step]
                measured = _compute_squared_distances(
                    self.points[part[pair_rows]].double(), centres[pair_centres].double()
                )
                nearest[start : start + row_step].scatter_reduce_(0, pair_rows, measured, "amin")
        return nearest


def _compute_squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Compute the deciding distances of (P, D) pairs in double precision."""
    squared: Tensor = torch.linalg.vector_norm(points - centres, dim=1).square().float()
    return squared


def _pick_from_block(pool: _Pool, upper: Tensor, centres: Tensor, size: int, budget: int) -> list[int]:
    """Return up to `budget` rows in the order of selection; fewer once a point outside the block may be farther.

    The block holds the `size` points with the largest of the `upper` (N,) bounds, the earlier of equals first.
    """
    order = torch.sort(upper, descending=True, stable=True)
    # Ascending rows make the first maximum the earliest point.
    rows = order.indices[:size].sort().values
    block_upper = upper[rows]
    nearest = pool.compute_nearest_distances(rows, centres)
    nearest = torch.where(block_upper == -torch.inf, block_upper, nearest)
    block = pool.points[rows].double()
    picks: list[int] = []
    while len(picks) < budget:
        farthest, places = _pick_unchecked(block, nearest, min(UNCHECKED_PICKS, budget - len(picks)))
        chosen = rows[places]
        valid = torch.ones_like(farthest, dtype=torch.bool)
        if size < len(upper):
            outside_bound = order.values[size]
            outside_row = order.indices[size]
            # Of equals the earlier row comes first, inside the block or outside.
            valid = (farthest > outside_bound) | ((farthest == outside_bound) & (chosen < outside_row))
        # Only the picks before the first that fails are valid: the later ones build on it.
        valid_count = int(valid.long().cumprod(dim=0).sum())
        picks += chosen[:valid_count].tolist()
        if valid_count < len(valid):
            break
    return picks


def _pick_unchecked(block: Tensor, nearest: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return distances and places of the next `count` picks of a block (R, D), none of which the host has seen.

    `nearest` (R,) is updated with each pick, and is -inf for those picked.
    """
    values = []
    places = []
    for _ in range(count):
        # The first of equals.
        value, place = nearest.max(dim=0, keepdim=True)
        values.append(value)
        places.append(place)
        torch.minimum(nearest, _compute_squared_distances(block, block.index_select(0, place)), out=nearest)
        nearest.index_fill_(0, place, -torch.inf)
    return torch.cat(values), torch.cat(places)
