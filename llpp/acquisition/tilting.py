"""How far a selection leans towards high scores: β, in standard deviations of the scores' ranks.

N candidates. Scores of different objectives have different scales, or none, so only their ranks count: u is the
standard normal score of a rank. Drawing with probability ∝ exp(β u) moves the mean of u from 0 to β, for a small
share of a large pool: β = 0 draws uniformly, and β = ∞ takes the highest.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from llpp.acquisition.base import PROGRESS, check_finite
from llpp.errors import ConfigError, expect
from llpp.setting_rules import is_number
from llpp.types import Progress

Scores = NDArray[np.float64]
SCHEDULE = "schedule"
COMPETENCE = "competence"


def compute_normal_scores(scores: NDArray[np.floating]) -> Scores:
    """Return u = Φ⁻¹((rank - ½) / N) of (N,) scores; the lowest has rank 1, and equal ones their mean rank.

    Raises:
        ValueError: scores that are not finite, which have no rank.
    """
    check_finite(scores)
    normal: Scores = ndtri((rankdata(scores) - 0.5) / max(1, len(scores)))
    return normal


def draw_keys(normal_scores: Scores, beta: float, rng: np.random.Generator) -> Scores:
    """Return β u plus Gumbel noise (N,): the highest keys are a draw without replacement with probability ∝ exp(β u).

    See Kool, van Hoof & Welling (ICML 2019). At β = ∞ the keys are in the order of u, and among equals at random.
    """
    noise = rng.gumbel(size=len(normal_scores))
    if math.isinf(beta):
        keys = np.empty(len(normal_scores))
        keys[np.lexsort((noise, normal_scores))] = np.arange(len(normal_scores))
        return keys
    return beta * normal_scores + noise


@dataclass(frozen=True)
class Tilt:
    """β of a round: a number, or one that grows.

    `schedule` is first · (last / first)^(t / (T - 1)) in the t-th of T selections, as in ClaSP PE (TMLR 2026).
    `competence` is last · m with the measured competence m of `Progress`, and 0 where that is unknown: the selection
    leans towards failures only as far as the model has learned something.
    """

    beta: float | str
    first: float
    last: float

    def __post_init__(self) -> None:
        # In YAML files infinity is .inf, and inf a word.
        fits = self.beta in (SCHEDULE, COMPETENCE, math.inf) or (is_number(self.beta) and float(self.beta) >= 0)
        expected = f"a number, 0 (uniform) to inf (the highest; in a file .inf), {SCHEDULE} or {COMPETENCE}"
        expect(fits, "acquisition.beta", self.beta, expected)
        for name, value in (("beta_first", self.first), ("beta_last", self.last)):
            expect(is_number(value) and value > 0, f"acquisition.{name}", value, "a number above 0")

    @property
    def needs(self) -> frozenset[str]:
        """What of Candidates it takes."""
        if isinstance(self.beta, str):
            return frozenset({PROGRESS})
        return frozenset()

    def compute(self, progress: Progress | None) -> float:
        """Return β of the round that selects now."""
        if not isinstance(self.beta, str):
            return float(self.beta)
        if progress is None:
            raise ValueError(f"beta={self.beta} needs candidates with the progress of the run")
        if self.beta == COMPETENCE:
            return self.last * min(max(progress.competence or 0.0, 0.0), 1.0)
        if progress.rounds is None:
            raise ConfigError(
                f"acquisition.beta={SCHEDULE} needs a run with an end, and this one has rounds=null; set "
                f"acquisition.beta={COMPETENCE}, or a number"
            )
        # The last of the rounds does not select.
        steps = progress.rounds - 2
        done = min(progress.round / steps, 1.0) if steps > 0 else 0.0
        return float(self.first * (self.last / self.first) ** done)
