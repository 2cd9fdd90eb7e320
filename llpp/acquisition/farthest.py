"""k-centre greedy where it is fastest: on a GPU that is in use anyway, or on the CPU."""

from llpp.acquisition.core_set_on_device import find_gpu_with_room, k_centre_greedy_on_device
from llpp.acquisition.k_centre import Points
from llpp.acquisition.k_centre_on_host import k_centre_greedy


def pick_farthest(points: Points, centres: Points | None, budget: int, first: int | None = None) -> list[int]:
    """Return rows of `points` (N, D): one by one the farthest from the `centres` (L, D) and the picks so far.

    `first` is the first pick; without centres there has to be one.
    """
    gpu = find_gpu_with_room(points, centres)
    if gpu is None:
        return k_centre_greedy(points, centres, budget, first)
    return k_centre_greedy_on_device(gpu, points, centres, budget, first)
