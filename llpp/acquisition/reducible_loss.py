"""Predicted loss less the loss that training leaves behind: after RHO-LOSS (Mindermann et al., ICML 2022).

RHO-LOSS subtracts the loss of a second model, trained on data held out, from that of the present one: what stays high
however much is learned is noise. Here the labelled images say what training leaves behind around them.
"""

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.base import Acquisition
from llpp.acquisition.ridge import fit_ridge
from llpp.acquisition.spaces import PointSet, Space
from llpp.acquisition.stratified_draw import StratifiedDraw
from llpp.acquisition.tilting import Tilt
from llpp.acquisition.trimming import Trim
from llpp.types import Candidates, Progress

MOST_LABELLED = 2**15  # images that the regression learns from
SMALLEST_LOSS = 1e-6  # of the mean, below which losses count as equal: their logarithms would decide everything


class ReducibleLossAcquisition(Acquisition):
    """Draw as `stratified_power` does, with the score s - r̂(z) for the predicted loss s.

    r̂ is a ridge regression of ln l on the embeddings z of the labelled images, l their true losses by the model that
    was trained on them. s has to be a logarithm as well, which it is with objective=kl, up to a constant that ranks
    do not see; so it is the head's, whatever ranks. Where training has driven the losses of the labelled images to 0,
    r̂ says nothing of use.
    """

    takes_failure_scores = False

    def __init__(
        self,
        beta: float | str = 1.0,
        beta_first: float = 0.5,
        beta_last: float = 3.0,
        strata: int | str = "auto",
        space: str = "pose",
        trim: float = 0.03,
        trim_unfound: bool = False,
    ) -> None:
        tilt = Tilt(beta, beta_first, beta_last)
        self.stratified_draw = StratifiedDraw(tilt, Space(space), strata, Trim(trim, trim_unfound))
        self.embeddings = Space("embedding")
        of_regression = self.embeddings.needs | self.embeddings.needs_of_labelled
        self.needs = self.stratified_draw.needs | of_regression | {"predicted_loss", "labelled_true_loss"}

    def compute_beta(self, progress: Progress | None) -> float:
        """See `Acquisition.compute_beta`."""
        return self.stratified_draw.tilt.compute(progress)

    def select(self, candidates: Candidates, budget: int, rng: np.random.Generator) -> list[str]:
        """See `Acquisition.select`."""
        losses = candidates.predicted_loss
        if losses is None or candidates.labelled_true_loss is None:
            raise ValueError("reducible_loss needs candidates with a predicted loss, and the labelled images' losses")
        points, labelled, _ = self.embeddings.get_points(candidates)
        left = predict_remaining_loss(points, labelled, candidates.labelled_true_loss, rng)
        rows = self.stratified_draw.draw(candidates, losses, losses - left, budget, rng)
        return [candidates.ids[row] for row in rows]


def predict_remaining_loss(
    points: PointSet, labelled: PointSet, true_losses: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return r̂ (N,) at N points, from L labelled ones and their true losses (L,), NaN where unknown.

    All 0 where fewer than two losses are known.
    """
    predicted = np.zeros(len(points))
    known = np.flatnonzero(np.isfinite(true_losses))
    if len(known) > MOST_LABELLED:
        known = np.sort(rng.choice(known, MOST_LABELLED, replace=False))
    if len(known) < 2:
        return predicted
    losses = true_losses[known].astype(np.float64)
    smallest = max(SMALLEST_LOSS * float(losses.mean()), np.finfo(np.float64).tiny)
    ridge = fit_ridge(labelled.prepare(known), np.log(np.maximum(losses, smallest)))
    for part, some in points.iterate(1):
        predicted[part] = ridge.predict(some)
    return predicted
