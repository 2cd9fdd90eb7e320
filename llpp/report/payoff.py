"""What finding failures buys: how much harder a selection was than the pool, and what its labels then gained."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llpp.report.collect import Method, Section
from llpp.report.metric import POOL_METRIC, SELECTED_METRIC, TEST_METRIC


@dataclass(frozen=True)
class Payoff:
    """One selection of a method, averaged over the seeds for which everything is known."""

    label: str  # of the method
    labelled: int  # images after it
    hardness: float  # metric of the selected images minus that of the pool
    gain: float  # metric of the next model on the test images minus that of the one with random selections
    spread: float | None  # standard deviation (n − 1) of the gain over seeds; None with one


def list_payoffs(section: Section) -> list[Payoff]:
    """List the selections of all methods but the random one, after which another model was tested.

    The random method is the first one of the section; its seeds are paired with those of the others.
    """
    baseline = find_random_method(section)
    if baseline is None:
        return []
    found = []
    for method in section.started_methods:
        if method.selects_at_random:
            continue
        counts = method.list_label_counts(TEST_METRIC)
        for before, after in pairwise(counts):
            payoff = _measure(method, baseline, before, after)
            if payoff is not None:
                found.append(payoff)
    return found


def find_random_method(section: Section) -> Method | None:
    """The first method of a section that selects at random."""
    for method in section.started_methods:
        if method.selects_at_random:
            return method
    return None


def explain_missing_payoffs(section: Section) -> str:
    """Say why a section has no such point."""
    if find_random_method(section) is None:
        return "needs a run with acquisition=random"
    return "needs the pool's metric, and the same seeds\nand numbers of labels as acquisition=random"


def _measure(method: Method, baseline: Method, before: int, after: int) -> Payoff | None:
    selected = method.get_seed_values(SELECTED_METRIC, before)
    pool = method.get_seed_values(POOL_METRIC, before)
    tested = method.get_seed_values(TEST_METRIC, after)
    random = baseline.get_seed_values(TEST_METRIC, after)
    seeds = [seed for seed in selected if seed in pool and seed in tested and seed in random]
    if not seeds:
        return None
    hardness = [selected[seed] - pool[seed] for seed in seeds]
    gains = [tested[seed] - random[seed] for seed in seeds]
    spread = float(np.std(gains, ddof=1)) if len(gains) > 1 else None
    return Payoff(method.label, after, float(np.mean(hardness)), float(np.mean(gains)), spread)
