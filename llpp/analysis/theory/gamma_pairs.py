"""Two independent Gamma(α, β) losses (shape, rate): how far apart they are, and what share each has.

f is the density of one loss, δ the difference of a pair, and x = βδ the same without a unit. docs/mathematics.md
derives every formula.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, special, stats

from llpp.errors import expect

Values = NDArray[np.float64]
MAX_ROUNDING_ERROR = 1e-9  # rounding error up to which the closed form of the expected share is given out
MAX_EXPANDED_ALPHA = 1000  # largest α that is expanded
MAX_INTEGRATED_ALPHA = 1e6  # largest α that is integrated


@dataclass(frozen=True)
class Gamma:
    """Distribution of one loss: α > 0 is its shape, β > 0 its rate; the mean is α / β. ConfigError otherwise."""

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            expect(0 < value < np.inf, name, value, "a finite number above 0")

    @property
    def mean(self) -> float:
        """Mean loss."""
        return self.alpha / self.beta

    @property
    def has_closed_form(self) -> bool:
        """Whether α is an integer for which the closed forms are written out."""
        return float(self.alpha).is_integer() and self.alpha <= MAX_EXPANDED_ALPHA

    def cdf(self, loss: ArrayLike) -> Values:
        """P(l ≤ loss)."""
        return np.asarray(special.gammainc(self.alpha, self.beta * np.asarray(loss, dtype=float)))

    def pdf(self, loss: ArrayLike) -> Values:
        """Density f."""
        return np.asarray(stats.gamma.pdf(loss, self.alpha, scale=1 / self.beta))


def pair_probability_closed(delta: ArrayLike, gamma: Gamma) -> Values:
    """P(|l_i - l_j| ≤ δ) for integer α, of δ's shape; NaN where α is not one (or above 1000).

    |l_i - l_j| is Gamma(k + 1, β) with probability C(2α-2-k, α-1) / 2^(2α-2-k), k = 0 … α-1: Banach's matchbox
    problem. All terms are positive, so nothing cancels.
    """
    x = gamma.beta * np.asarray(delta, dtype=float)
    if not gamma.has_closed_form:
        return np.full(x.shape, np.nan)
    k = np.arange(int(gamma.alpha))
    left = 2 * gamma.alpha - 2 - k
    log_weight = (
        special.gammaln(left + 1) - special.gammaln(gamma.alpha) - special.gammaln(gamma.alpha - k) - left * np.log(2)
    )
    total: Values = np.asarray((np.exp(log_weight) * special.gammainc(k + 1, x[..., None])).sum(axis=-1))
    return total


def pair_probability_quadrature(delta: ArrayLike, gamma: Gamma) -> Values:
    """P(|l_i - l_j| ≤ δ) = 2 ∫ f(l) (F(l + δ) - F(l)) dl for any α, of δ's shape."""

    def compute_probability(x: float) -> float:
        def compute_gap(z: float) -> float:
            return float(special.gammainc(gamma.alpha, z + x) - special.gammainc(gamma.alpha, z))

        def log_weight(log_z: float, z: float) -> float:
            return float(gamma.alpha * log_z - z - special.gammaln(gamma.alpha))

        return min(2 * _compute_integral(compute_gap, log_weight, peak=gamma.alpha, rise=gamma.alpha), 1.0)

    return _map_values(compute_probability, gamma.beta * np.asarray(delta, dtype=float))


def pair_probability(delta: ArrayLike, gamma: Gamma) -> Values:
    """P(|l_i - l_j| ≤ δ) (Shukla & Ahmed, CVPRW 2021, Table 1): closed form where there is one, else quadrature.

    For α beyond a million, where a density is too narrow to be integrated, the normal limit, right to 1 / α.
    """
    if gamma.alpha > MAX_INTEGRATED_ALPHA:
        return np.asarray(special.erf(gamma.beta * np.asarray(delta, dtype=float) / (2 * np.sqrt(gamma.alpha))))
    return (pair_probability_closed if gamma.has_closed_form else pair_probability_quadrature)(delta, gamma)


def expected_share_closed(delta: ArrayLike, gamma: Gamma) -> Values:
    """E[t | l_i - l_j = δ] for integer α, of δ's shape; NaN where α is not one or rounding errors could show.

    E[t | δ] = (1 + E_(α-1)) / 2 with E_0 = x e^x E₁(x) and E_m = x / 2m - x² κ_m E_(m-1). The subtraction loses
    digits once x is large, by (x/2)^(α-1) / (α-1)! at worst; a bound of the error is carried along, and what may
    be off by more than 1e-9 is not given out. x ≤ 25 is safe for every α.
    """
    x = gamma.beta * np.abs(np.asarray(delta, dtype=float))
    if not gamma.has_closed_form:
        return np.full(x.shape, np.nan)
    epsilon = np.finfo(float).eps
    with np.errstate(all="ignore"):  # x e^x E₁(x) overflows beyond x = 700 and becomes NaN
        ratio = np.where(x > 0, x * np.exp(x) * special.exp1(x), 0.0)
        error, kappa = epsilon * ratio, 1 / (2 + 2 * x)
        for m in range(1, int(gamma.alpha)):
            if m > 1:
                kappa = 1 / (2 * m * (2 * m - 1 + 2 * (m - 1) * x**2 * kappa))
            shrink = x**2 * kappa
            error = shrink * error + epsilon * (x / (2 * m) + shrink * np.abs(ratio))
            ratio = x / (2 * m) - shrink * ratio
        safe = np.isfinite(ratio) & (error < MAX_ROUNDING_ERROR)
    return np.where(safe, 0.5 + np.sign(delta) * ratio / 2, np.nan)


def expected_share_quadrature(delta: ArrayLike, gamma: Gamma) -> Values:
    """E[t | l_i - l_j = δ] for any α, of δ's shape; 1/2 at δ = 0.

    Given δ ≥ 0, z = 2β l_j has a density proportional to (z (z + 2x))^(α-1) e^-z, and t = 1/2 + x / 2(z + x).
    """

    def compute_share(x: float) -> float:
        if x == 0:
            return 0.5
        size = abs(x)

        def log_weight(log_z: float, z: float) -> float:
            return float(gamma.alpha * log_z + (gamma.alpha - 1) * np.log(z + 2 * size) - z)

        middle = gamma.alpha - size - 0.5  # half of what the peak's quadratic equation has before z
        root = np.sqrt(middle**2 + 2 * size * gamma.alpha)
        peak = middle + root if middle > 0 else 2 * size * gamma.alpha / (root - middle)  # the same, no cancellation
        top = log_weight(np.log(peak), peak)

        def average(value: Callable[[float], float]) -> float:
            return _compute_integral(value, lambda log_z, z: log_weight(log_z, z) - top, peak, rise=gamma.alpha)

        ratio = average(lambda z: size / (z + size)) / average(lambda z: 1.0)
        return 0.5 + float(np.sign(x)) * ratio / 2

    return _map_values(compute_share, gamma.beta * np.asarray(delta, dtype=float))


def expected_share(delta: ArrayLike, gamma: Gamma) -> Values:
    """E[t | l_i - l_j = δ]: closed form where it is exact to 1e-9, else quadrature."""
    found = expected_share_closed(delta, gamma)
    missing = np.isnan(found)
    if missing.any():
        found = np.array(found)
        found[missing] = expected_share_quadrature(np.asarray(delta, dtype=float)[missing], gamma)
    return found


def sample_expected_share(
    delta: float, gamma: Gamma, rng: np.random.Generator, draws: int = 200_000
) -> tuple[float, float]:
    """Monte Carlo estimate of E[t | l_i - l_j = δ], δ ≥ 0, and its standard error.

    The smaller loss is drawn from the Gamma and weighted by the density f(l + δ) of its partner.
    """
    smaller = rng.gamma(gamma.alpha, 1 / gamma.beta, draws)
    weight = gamma.pdf(smaller + delta)
    weight = weight / weight.sum()
    share = (smaller + delta) / (2 * smaller + delta)
    mean = float(weight @ share)
    return mean, float(np.sqrt(np.square(weight * (share - mean)).sum()))


def compute_expected_kl_gradient(share: ArrayLike, delta: ArrayLike, gamma: Gamma) -> Values:
    """E[q - t | l_i - l_j = δ] at the predicted share q (Shukla & Ahmed, CVPRW 2021, Table 2); broadcasts."""
    return np.subtract(share, expected_share(delta, gamma))


def _compute_integral(
    value: Callable[[float], float], log_weight: Callable[[float, float], float], peak: float, rise: float
) -> float:
    """∫ value(z) e^log_weight(ln z, z) d ln z over z > 0, with `value` bounded and a weight that peaks at `peak`.

    The limits are where the weight is e^-45 of its peak: it rises like z^rise and falls like e^-z, and for a large
    peak it is a bell of width 1 / √peak, which wider limits would let the quadrature overlook.
    """
    fall = np.sqrt(220 / peak) if peak > 220 else (45 + peak) / rise
    low, high = np.log(peak) - fall, np.log(peak + 60 + 12 * np.sqrt(peak))

    def integrand(log_z: float) -> float:
        z = float(np.exp(log_z))
        return value(z) * float(np.exp(log_weight(log_z, z)))

    parts = ((low, np.log(peak)), (np.log(peak), high))
    return float(sum(integrate.quad(integrand, *part, epsabs=1e-13, epsrel=1e-11, limit=300)[0] for part in parts))


def _map_values(one: Callable[[float], float], values: Values) -> Values:
    return np.array([one(float(v)) for v in values.ravel()]).reshape(values.shape)
