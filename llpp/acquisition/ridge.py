"""Ridge regression whose penalty is chosen by leaving out one point at a time.

L points, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.acquisition.spaces import Points

Values = NDArray[np.float64]
# Of the mean eigenvalue; the largest all but leaves the mean of the targets.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e6)


@dataclass(frozen=True)
class Ridge:
    """A linear function of a point."""

    mean: Values  # (D,) of the points
    coefficients: Values  # (D,)
    intercept: float

    def predict(self, points: Points) -> Values:
        """Return the function of (P, D) points: (P,)."""
        predicted: Values = (points - self.mean) @ self.coefficients + self.intercept
        return predicted


def fit_ridge(points: Points, targets: Values) -> Ridge:
    """Fit (L,) targets to (L, D) points, L at least 1.

    With the eigenvectors of the points' scatter matrix, the errors of all L fits that leave out one point follow from
    one fit: residual / (1 - leverage).
    """
    wide = points.astype(np.float64)
    mean = wide.mean(axis=0)
    wide -= mean
    intercept = float(targets.mean())
    eigenvalues, vectors = np.linalg.eigh(wide.T @ wide)
    eigenvalues = np.maximum(eigenvalues, 0)
    rotated = wide @ vectors
    projected = rotated.T @ (targets - intercept)
    scale = float(eigenvalues.mean())
    if scale == 0:
        # All points are equal, and any penalty leaves the mean of the targets.
        scale = 1.0
    best_error = np.inf
    best = np.zeros_like(projected)
    for penalty in PENALTIES:
        shrunk = projected / (eigenvalues + penalty * scale)
        leverage = np.square(rotated) @ (1 / (eigenvalues + penalty * scale)) + 1 / len(targets)
        residuals = targets - intercept - rotated @ shrunk
        error = float(np.square(residuals / np.maximum(1 - leverage, 1e-9)).mean())
        if error < best_error:
            best_error = error
            best = shrunk
    return Ridge(mean, vectors @ best, intercept)
