"""Gradients of both objectives for one pair of images, where the prediction is p = w · θ + b.

l_i, l_j are true losses, d = p_i - p_j, and θ the features (D,) that the head's last layer gets. Both gradients
with respect to w are a number, here the coefficient, times θ_i - θ_j; with respect to d they are the coefficient.
All arguments broadcast.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Values = NDArray[np.float64]


def true_share(first: ArrayLike, second: ArrayLike) -> Values:
    """Share t = l_i / (l_i + l_j) of a pair's true loss that falls to its first image; 1/2 for two zeros."""
    first, total = np.asarray(first, dtype=float), np.add(first, second, dtype=float)
    shares: Values = np.divide(first, total, out=np.full(total.shape, 0.5), where=total > 0)
    return shares


def predicted_share(difference: ArrayLike) -> Values:
    """The same share as predicted, q = sigmoid(d)."""
    shares: Values = np.asarray(special.expit(np.asarray(difference, dtype=float)))
    return shares


def kl_coefficient(difference: ArrayLike, first: ArrayLike, second: ArrayLike) -> Values:
    """Error q - t of the predicted share (Shukla & Ahmed, CVPRW 2021, Eq. 4)."""
    return predicted_share(difference) - true_share(first, second)


def ranking_coefficient(difference: ArrayLike, first: ArrayLike, second: ArrayLike, margin: float = 1.0) -> Values:
    """-s where s d < margin, else 0, with s = sign(l_i - l_j) (gradient of Yoo & Kweon, CVPR 2019, Eq. 2)."""
    sign = np.sign(np.subtract(first, second, dtype=float))
    active = sign * np.asarray(difference, dtype=float) < margin
    return np.where(active, 0.0 - sign, 0.0)


def compute_weight_gradient(coefficient: float, first: Values, second: Values) -> Values:
    """Gradient with respect to w: the coefficient times θ_i - θ_j, (D,) each."""
    return coefficient * (first - second)
