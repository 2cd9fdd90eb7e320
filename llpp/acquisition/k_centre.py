"""What k-centre greedy in NumPy (`k_centre_on_host`) and in torch (`core_set_on_device`) have in common.

N points, L centres, D dimensions. Both bound squared distances with |x|² + |c|² - 2 x·c of centred vectors, which is
one matrix product, and measure Σ(x - c)² only for the pairs that the bounds leave open.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]


def choose_first_picks(centre_count: int, first: int | None) -> list[int]:
    """Return the picks that need no distance: `first`, or row 0 where no centre is there to measure from."""
    if first is not None:
        return [first]
    if centre_count == 0:
        return [0]
    return []


def compute_slack(dimensions: int, unit_roundoff: float) -> float:
    """Return the share of |x|² + |c|² by which |x|² + |c|² - 2 x·c may differ from the deciding distance.

    It holds in any order of summation: there are D + 3 roundings of `unit_roundoff` in each dot product, one in
    centring each vector, and D + 2 in the deciding distance itself.
    """
    return 4 * (dimensions + 16) * unit_roundoff


def check_finite(name: str, bad_count: int, count: int) -> None:
    """Raise ValueError if `bad_count` of the `count` embeddings called `name` hold values that are not finite."""
    if bad_count:
        raise ValueError(f"{bad_count} of {count} {name} embeddings are not finite")
