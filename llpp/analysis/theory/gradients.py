"""Gradients of both objectives for one pair of images, where the prediction is p = w · θ + b.

l_i and l_j are the true losses, d = p_i - p_j is the predicted difference, and θ are the features (D,) that enter
the head's last layer. The gradient of either objective with respect to d is a number, the coefficient; its gradient
with respect to w is the coefficient times θ_i - θ_j. All arguments broadcast.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Values = NDArray[np.float64]


def true_share(first: ArrayLike, second: ArrayLike) -> Values:
    """Return t = l_i / (l_i + l_j), the first image's share of a pair's true loss; 1/2 for two zeros."""
    first = np.asarray(first, dtype=float)
    total = np.add(first, second, dtype=float)
    half = np.full(total.shape, 0.5)
    t: Values = np.divide(first, total, out=half, where=total > 0)
    return t


def predicted_share(difference: ArrayLike) -> Values:
    """Return q = sigmoid(d), the first image's share of a pair's loss as predicted."""
    q: Values = np.asarray(special.expit(np.asarray(difference, dtype=float)))
    return q


def kl_coefficient(difference: ArrayLike, first: ArrayLike, second: ArrayLike) -> Values:
    """Return q - t, the error of the predicted share (Shukla & Ahmed, CVPRW 2021, Eq. 4)."""
    return predicted_share(difference) - true_share(first, second)


def ranking_coefficient(difference: ArrayLike, first: ArrayLike, second: ArrayLike, margin: float = 1.0) -> Values:
    """Return -s where s d < margin, else 0; s = sign(l_i - l_j) (gradient of Yoo & Kweon, CVPR 2019, Eq. 2)."""
    s = np.sign(np.subtract(first, second, dtype=float))
    d = np.asarray(difference, dtype=float)
    active = s * d < margin
    # 0 - s instead of -s: a tie gives 0, not -0.
    return np.where(active, 0.0 - s, 0.0)


def compute_weight_gradient(coefficient: float, first: Values, second: Values) -> Values:
    """Return the gradient with respect to w (D,): the coefficient times θ_i - θ_j, (D,) each."""
    return coefficient * (first - second)
