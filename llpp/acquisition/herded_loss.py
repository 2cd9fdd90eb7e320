"""Loss-weighted coverage: Uncertainty Herding (Bae, Oliveira & Sutherland, ICLR 2025) with the predicted loss."""

import math

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition, select_highest
from llpp.acquisition.herding import Coverage
from llpp.acquisition.spaces import Points, PointSet, Space
from llpp.acquisition.tilting import Scores, Tilt, compute_normal_scores, draw_keys
from llpp.acquisition.trimming import Trim
from llpp.errors import expect
from llpp.types import Candidates, Progress


class HerdedLossAcquisition(Acquisition):
    """Cover the pool, and the more so the higher its predicted loss.

    Greedily maximise F(S) = Σ_a w_a · max over b in L ∪ S of exp(-‖z_a - z_b‖² / h²) over anchors a drawn from the
    pool, with w_a = exp(β u_a), u the normal score of the predicted loss's rank, L the labelled images, and h the
    median distance of an anchor to its nearest labelled image. With a `target`, a file of ids, the anchors are those
    images: what the model is to be good at, which the pool may have little of. β = 0 is MaxHerding (Bae et al., ECCV
    2024), which is coverage alone. Half of the candidates are drawn with probability ∝ exp(β u), half uniformly.
    """

    def __init__(
        self,
        beta: float | str = 1.0,
        beta_first: float = 0.5,
        beta_last: float = 3.0,
        space: str = "pose",
        anchors: int = 8192,
        drawn: int = 16384,
        trim: float = 0.03,
        trim_unfound: bool = False,
        target: str | None = None,
    ) -> None:
        expect(beta != math.inf, "acquisition.beta", beta, "a number that is finite, schedule or competence")
        for name, value in (("anchors", anchors), ("drawn", drawn)):
            expect(type(value) is int and value >= 1, f"acquisition.{name}", value, "a whole number, 1 or more")
        expect(target is None or isinstance(target, str), "acquisition.target", target, "null, or the path of a file")
        self.tilt = Tilt(beta, beta_first, beta_last)
        self.space = Space(space)
        self.trim = Trim(trim, trim_unfound)
        self.anchors = anchors
        self.drawn = drawn
        self.target_file = target
        needs = self.tilt.needs | self.trim.needs | self.space.needs | self.space.needs_of_labelled
        self.needs = needs | {"predicted_loss"}
        if target is not None:
            self.needs |= self.space.needs_of_target | {"target_predicted_loss"}

    def compute_beta(self, progress: Progress | None) -> float:
        """See `Acquisition.compute_beta`."""
        return self.tilt.compute(progress)

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        losses = candidates.predicted_loss
        if losses is None:
            raise ValueError("herded_loss needs candidates with a predicted loss")
        if not len(candidates.ids):
            return []
        kept = self.trim.find_kept(candidates, losses, budget)
        normal = compute_normal_scores(losses[kept])
        beta = self.tilt.compute(candidates.progress)
        points, labelled, target = self.space.get_points(candidates)

        of_target = candidates.target_predicted_loss
        if of_target is None:
            anchors, weights = self._draw_anchors(points, kept, normal, beta, rng)
        else:
            everything = np.arange(len(target))
            anchors, weights = self._draw_anchors(target, everything, compute_normal_scores(of_target), beta, rng)
        coverage = Coverage.build(anchors, weights, labelled.prepare(slice(None)))
        drawn = self._draw_candidates(normal, beta, max(self.drawn, 2 * budget), rng)
        picks = coverage.pick(points.prepare(kept[drawn]), budget)
        return [candidates.ids[row] for row in kept[drawn[picks]]]

    def _draw_anchors(
        self, points: PointSet, rows: NDArray[np.int64], normal: Scores, beta: float, rng: np.random.Generator
    ) -> tuple[Points, Scores]:
        """Return the points (A, D) and weights (A,) of some of the `rows`, whose normal scores are `normal`."""
        drawn = np.sort(rng.choice(len(rows), min(self.anchors, len(rows)), replace=False))
        scores = normal[drawn]
        # Less the highest: no weight overflows, and not all of them become 0.
        return points.prepare(rows[drawn]), np.exp(beta * (scores - scores.max()))

    def _draw_candidates(
        self, normal: Scores, beta: float, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return rows: half drawn with probability ∝ exp(β u), the others uniformly; all rows if they are few."""
        keys = draw_keys(normal, beta, rng)
        if count >= len(normal):
            return np.argsort(-keys, kind="stable")
        tilted = select_highest(keys, count // 2, rng)
        others = np.ones(len(normal), dtype=np.bool_)
        others[tilted] = False
        uniform = rng.choice(np.flatnonzero(others), count - len(tilted), replace=False)
        return np.concatenate([tilted, uniform])
