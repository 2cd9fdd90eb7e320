"""The tables about two independent Gamma losses."""

import numpy as np
from numpy.typing import NDArray

from llpp.analysis.tables import Table, replace_nan
from llpp.analysis.theory import gamma_pairs
from llpp.analysis.theory.gamma_pairs import Gamma
from llpp.analysis.theory.gradients import ranking_coefficient

PAPER = Gamma(4.0, 15.0)
PAPER_DELTAS = np.array([0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15])
PAPER_TABLE_1 = (0.094, 0.185, 0.274, 0.358, 0.437, 0.527, 0.607)
SHARES = np.arange(1, 10) / 10  # predicted shares q of the gradient table


def scale_deltas(gamma: Gamma) -> NDArray[np.float64]:
    """The paper's differences, in proportion to the mean loss."""
    return PAPER_DELTAS if gamma == PAPER else PAPER_DELTAS * (gamma.mean / PAPER.mean)


def build_probability_table(gamma: Gamma) -> Table:
    """P(|l_i - l_j| ≤ δ), beside the paper's Table 1 where the parameters are its own."""
    delta = scale_deltas(gamma)
    closed, quadrature = (
        gamma_pairs.pair_probability_closed(delta, gamma),
        gamma_pairs.pair_probability_quadrature(delta, gamma),
    )
    columns = {"δ": ".4g", "δ / mean": ".3f", "closed form": ".10f", "quadrature": ".10f"}
    note = (
        "Share of pairs whose losses differ by no more than δ. Learning Loss pushes each of them as hard as a pair "
        "with very different losses. The closed form needs an integer α."
    )
    rows = [
        [float(d), float(d / gamma.mean), replace_nan(c), float(q)]
        for d, c, q in zip(delta, closed, quadrature, strict=True)
    ]
    if gamma == PAPER:
        columns["paper's Table 1"] = ".3f"
        note += (
            " Rounded to four decimals and then to three, all values are the paper's; the exact first one is "
            "0.09347, which rounded once is 0.093, not 0.094."
        )
        rows = [[*row, value] for row, value in zip(rows, PAPER_TABLE_1, strict=True)]
    return Table(
        "pair_probability", f"P(|l_i − l_j| ≤ δ) for two losses from {_format_gamma(gamma)}",
        note, columns, rows,
    )  # fmt: skip


def build_share_table(gamma: Gamma) -> Table:
    """E[t | l_i - l_j = δ] in three ways."""
    delta = np.array([0.0, *scale_deltas(gamma)])
    closed, quadrature = (
        gamma_pairs.expected_share_closed(delta, gamma),
        gamma_pairs.expected_share_quadrature(delta, gamma),
    )
    rng = np.random.default_rng(0)
    sampled = [gamma_pairs.sample_expected_share(float(d), gamma, rng) for d in delta]
    rows = [
        (float(d), replace_nan(c), float(q), mean, error)
        for d, c, q, (mean, error) in zip(delta, closed, quadrature, sampled, strict=True)
    ]
    columns = {"δ": ".4g", "closed form": ".10f", "quadrature": ".10f", "Monte Carlo": ".5f", "standard error": ".5f"}
    return Table(
        "expected_share", f"E[t | l_i − l_j = δ] for two losses from {_format_gamma(gamma)}",
        "The expected true share of the worse image: where LearningLoss++ pulls the predicted share q to. The closed "
        "form needs an integer α, and is left out where rounding errors could reach 1e-9.",
        columns, rows,
    )  # fmt: skip


def build_gradient_table(gamma: Gamma) -> Table:
    """E[q - t | l_i - l_j = δ] over q and δ, Learning Loss beside it (the paper's Table 2)."""
    delta = scale_deltas(gamma)
    share = gamma_pairs.expected_share(delta, gamma)
    ranking = ranking_coefficient(np.log(SHARES / (1 - SHARES)), 1.0, 0.0)
    rows = [[float(q), *map(float, q - share), float(c)] for q, c in zip(SHARES, ranking, strict=True)]
    columns = {"q": ".1f", **{f"δ = {d:.4g}": "+.3f" for d in delta}, "Learning Loss, any δ > 0": "+.0f"}
    return Table(
        "expected_gradient", f"Expected gradient E[q − t | l_i − l_j = δ] for two losses from {_format_gamma(gamma)}",
        "Coefficient of θ_i − θ_j. LearningLoss++ vanishes where q is the expected share and grows with the distance "
        "from it; Learning Loss (margin 1) is −1 up to q = σ(1) = 0.731 however small δ is, and 0 beyond. The layout "
        "is the paper's Table 2; its printed values were not at hand to compare with.",
        columns, rows,
    )  # fmt: skip


def _format_gamma(gamma: Gamma) -> str:
    return f"Gamma(α = {gamma.alpha:g}, β = {gamma.beta:g})"
