"""Two independent Gamma(α, β) losses (shape, rate): the difference of a pair, and the share of each loss.

f is the density of one loss and F its distribution function; δ is the difference of a pair, and x = βδ the same
difference without a unit; t and q are the true and the predicted share. docs/mathematics.md derives every formula.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, special, stats

from llpp.errors import expect

Values = NDArray[np.float64]
MAX_ROUNDING_ERROR = 1e-9  # of the closed form of the expected share; values that may be further off become NaN
MAX_EXPANDED_ALPHA = 1000  # largest α with a closed form, which has α terms
MAX_INTEGRATED_ALPHA = 1e6  # largest α for quadrature; above it the density is too narrow


@dataclass(frozen=True)
class Gamma:
    """Distribution of one loss: α > 0 is its shape, β > 0 its rate; the mean is α / β.

    Raises:
        ConfigError: α or β is not a finite number above 0.
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            expect(0 < value < np.inf, name, value, "a finite number above 0")

    @property
    def mean(self) -> float:
        """The mean loss α / β."""
        return self.alpha / self.beta

    @property
    def has_closed_form(self) -> bool:
        """Whether α is an integer small enough for the closed forms."""
        return float(self.alpha).is_integer() and self.alpha <= MAX_EXPANDED_ALPHA

    def cdf(self, loss: ArrayLike) -> Values:
        """Return F(loss) = P(l ≤ loss), of the shape of `loss`."""
        z = self.beta * np.asarray(loss, dtype=float)
        return np.asarray(special.gammainc(self.alpha, z))

    def pdf(self, loss: ArrayLike) -> Values:
        """Return the density f(loss), of the shape of `loss`."""
        return np.asarray(stats.gamma.pdf(loss, self.alpha, scale=1 / self.beta))


def pair_probability_closed(delta: ArrayLike, gamma: Gamma) -> Values:
    """Return P(|l_i - l_j| ≤ δ) for an integer α up to 1000, of the shape of δ; NaN for any other α.

    |l_i - l_j| is Gamma(k + 1, β) with probability w_k = C(2α-2-k, α-1) / 2^(2α-2-k), k = 0 … α-1: Banach's
    matchbox problem. All terms are positive, so nothing cancels.
    """
    x = gamma.beta * np.asarray(delta, dtype=float)
    if not gamma.has_closed_form:
        return np.full(x.shape, np.nan)
    k = np.arange(int(gamma.alpha))
    left = 2 * gamma.alpha - 2 - k
    log_weight = (
        special.gammaln(left + 1) - special.gammaln(gamma.alpha) - special.gammaln(gamma.alpha - k) - left * np.log(2)
    )
    terms = np.exp(log_weight) * special.gammainc(k + 1, x[..., None])
    # The sum may exceed the limit of a probability by its rounding error.
    return np.asarray(np.minimum(terms.sum(axis=-1), 1.0))


def pair_probability_quadrature(delta: ArrayLike, gamma: Gamma) -> Values:
    """Return P(|l_i - l_j| ≤ δ) = 2 ∫ f(l) (F(l + δ) - F(l)) dl for any α, of the shape of δ.

    The integral is over z = βl.
    """

    def log_density(log_z: float, z: float) -> float:
        return float(gamma.alpha * log_z - z - special.gammaln(gamma.alpha))

    def compute_probability(x: float) -> float:
        def compute_gap(z: float) -> float:
            return float(special.gammainc(gamma.alpha, z + x) - special.gammainc(gamma.alpha, z))

        integral = _compute_integral(compute_gap, log_density, peak=gamma.alpha, rise=gamma.alpha)
        # Quadrature may exceed the limit of a probability by its error.
        return min(2 * integral, 1.0)

    return _map_values(compute_probability, gamma.beta * np.asarray(delta, dtype=float))


def pair_probability(delta: ArrayLike, gamma: Gamma) -> Values:
    """Return P(|l_i - l_j| ≤ δ), of the shape of δ (Shukla & Ahmed, CVPRW 2021, Table 1).

    This is the closed form for an integer α up to 1000, else quadrature. For α above a million, where the density is
    too narrow to be integrated, it is the normal limit, whose error is of order 1 / α.
    """
    if gamma.has_closed_form:
        return pair_probability_closed(delta, gamma)
    if gamma.alpha <= MAX_INTEGRATED_ALPHA:
        return pair_probability_quadrature(delta, gamma)
    x = gamma.beta * np.asarray(delta, dtype=float)
    return np.asarray(special.erf(x / (2 * np.sqrt(gamma.alpha))))


def expected_share_closed(delta: ArrayLike, gamma: Gamma) -> Values:
    """Return E[t | l_i - l_j = δ] for an integer α up to 1000, of the shape of δ; NaN for any other α.

    E[t | δ] = (1 + E_(α-1)) / 2 with E_0 = x e^x E₁(x) and E_m = x / 2m - x² κ_m E_(m-1). The subtraction loses
    digits when x is large, by a factor of (x/2)^(α-1) / (α-1)! at worst. The recursion therefore carries a bound of
    the rounding error; values that may be off by more than 1e-9 are NaN. x ≤ 25 is safe for every α.
    """
    x = gamma.beta * np.abs(np.asarray(delta, dtype=float))
    if not gamma.has_closed_form:
        return np.full(x.shape, np.nan)
    epsilon = np.finfo(float).eps
    # x e^x E₁(x) overflows above x = 700 and becomes NaN, as intended.
    with np.errstate(all="ignore"):
        ratio = np.where(x > 0, x * np.exp(x) * special.exp1(x), 0.0)  # E_m, from m = 0
        error = epsilon * ratio
        kappa = 1 / (2 + 2 * x)
        for m in range(1, int(gamma.alpha)):
            if m > 1:
                kappa = 1 / (2 * m * (2 * m - 1 + 2 * (m - 1) * x**2 * kappa))
            shrink = x**2 * kappa
            error = shrink * error + epsilon * (x / (2 * m) + shrink * np.abs(ratio))
            ratio = x / (2 * m) - shrink * ratio
        safe = np.isfinite(ratio) & (error < MAX_ROUNDING_ERROR)
    return np.where(safe, 0.5 + np.sign(delta) * ratio / 2, np.nan)


def expected_share_quadrature(delta: ArrayLike, gamma: Gamma) -> Values:
    """Return E[t | l_i - l_j = δ] for any α, of the shape of δ; 1/2 at δ = 0.

    Given δ ≥ 0, z = 2β l_j has a density proportional to (z (z + 2x))^(α-1) e^-z, and t = 1/2 + x / 2(z + x).
    A negative δ exchanges the two losses, which makes the share 1 - t.
    """

    def compute_share(x: float) -> float:
        if x == 0:
            return 0.5
        size = abs(x)

        def log_weight(log_z: float, z: float) -> float:
            return float(gamma.alpha * log_z + (gamma.alpha - 1) * np.log(z + 2 * size) - z)

        # The weight's derivative vanishes where z² - 2 middle z = 2 size α. Of the two forms of the positive root,
        # the one is used that adds instead of subtracting: the other would cancel.
        middle = gamma.alpha - size - 0.5
        root = np.sqrt(middle**2 + 2 * size * gamma.alpha)
        peak = middle + root if middle > 0 else 2 * size * gamma.alpha / (root - middle)
        log_peak_weight = log_weight(np.log(peak), peak)

        # Scaled to 1 at the peak: the weight itself would overflow for large α, and its scale cancels in the ratio.
        def scale_log_weight(log_z: float, z: float) -> float:
            return log_weight(log_z, z) - log_peak_weight

        def integrate_weighted(value: Callable[[float], float]) -> float:
            return _compute_integral(value, scale_log_weight, peak, rise=gamma.alpha)

        ratio = integrate_weighted(lambda z: size / (z + size)) / integrate_weighted(lambda z: 1.0)
        return 0.5 + float(np.sign(x)) * ratio / 2

    return _map_values(compute_share, gamma.beta * np.asarray(delta, dtype=float))


def expected_share(delta: ArrayLike, gamma: Gamma) -> Values:
    """Return E[t | l_i - l_j = δ], of the shape of δ: closed form where it is exact to 1e-9, else quadrature."""
    share = expected_share_closed(delta, gamma)
    missing = np.isnan(share)
    if missing.any():
        share = np.array(share)
        share[missing] = expected_share_quadrature(np.asarray(delta, dtype=float)[missing], gamma)
    return share


def sample_expected_share(
    delta: float, gamma: Gamma, rng: np.random.Generator, draws: int = 200_000
) -> tuple[float, float]:
    """Estimate E[t | l_i - l_j = δ], δ ≥ 0, by Monte Carlo; return the estimate and its standard error.

    The smaller loss l is drawn from the Gamma and weighted by the density f(l + δ) of the larger one.
    """
    smaller = rng.gamma(gamma.alpha, 1 / gamma.beta, draws)
    weight = gamma.pdf(smaller + delta)
    weight = weight / weight.sum()
    share = (smaller + delta) / (2 * smaller + delta)
    mean = float(weight @ share)
    variance = np.square(weight * (share - mean)).sum()
    return mean, float(np.sqrt(variance))


def compute_expected_kl_gradient(share: ArrayLike, delta: ArrayLike, gamma: Gamma) -> Values:
    """Return E[q - t | l_i - l_j = δ] at the predicted share q (Shukla & Ahmed, CVPRW 2021, Table 2); broadcasts."""
    return np.subtract(share, expected_share(delta, gamma))


def _compute_integral(
    value: Callable[[float], float], log_weight: Callable[[float, float], float], peak: float, rise: float
) -> float:
    """Return ∫ value(z) e^log_weight(ln z, z) d ln z over z > 0, for a bounded `value`.

    The weight peaks at `peak`, rises like z^rise before it and falls like e^-z after it.
    """
    # The limits are where the weight is e^-45 of its peak. For a large peak the weight is a bell of width 1 / √peak
    # in ln z; with wider limits the quadrature would miss it.
    log_peak = np.log(peak)
    reach = np.sqrt(220 / peak) if peak > 220 else (45 + peak) / rise
    low = log_peak - reach
    high = np.log(peak + 60 + 12 * np.sqrt(peak))

    def compute_integrand(log_z: float) -> float:
        z = float(np.exp(log_z))
        return value(z) * float(np.exp(log_weight(log_z, z)))

    # Split at the peak, so that both parts have their largest values at a known end.
    total = 0.0
    for start, end in ((low, log_peak), (log_peak, high)):
        integral, _ = integrate.quad(compute_integrand, start, end, epsabs=1e-13, epsrel=1e-11, limit=300)
        total += integral
    return float(total)


def _map_values(function: Callable[[float], float], values: Values) -> Values:
    """Apply a function of one number to each of `values`; the result has their shape."""
    results = [function(float(value)) for value in values.ravel()]
    return np.array(results).reshape(values.shape)
