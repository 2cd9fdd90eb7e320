"""The tables about two independent Gamma losses."""

import numpy as np
from numpy.typing import NDArray

from llpp.analysis.tables import Cell, Table, replace_nan
from llpp.analysis.theory import gamma_pairs
from llpp.analysis.theory.gamma_pairs import Gamma
from llpp.analysis.theory.gradients import ranking_coefficient

PAPER = Gamma(4.0, 15.0)
PAPER_DELTAS = np.array([0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15])
PAPER_TABLE_1 = (0.094, 0.185, 0.274, 0.358, 0.437, 0.527, 0.607)
SHARES = np.arange(1, 10) / 10  # predicted shares q of the gradient table


def scale_deltas(gamma: Gamma) -> NDArray[np.float64]:
    """Return the paper's differences δ, scaled in proportion to the mean loss."""
    # Not scaled by 1, so that the paper's values stay exact.
    if gamma == PAPER:
        return PAPER_DELTAS
    return PAPER_DELTAS * (gamma.mean / PAPER.mean)


def build_probability_table(gamma: Gamma) -> Table:
    """Build the table of P(|l_i - l_j| ≤ δ), next to the paper's Table 1 if `gamma` has the paper's parameters."""
    delta = scale_deltas(gamma)
    closed = gamma_pairs.pair_probability_closed(delta, gamma)
    quadrature = gamma_pairs.pair_probability_quadrature(delta, gamma)
    columns = {"δ": ".4g", "δ / mean": ".3f", "closed form": ".10f", "quadrature": ".10f"}
    note = (
        "Share of pairs whose losses differ by no more than δ. Learning Loss pushes each of them as hard as a pair "
        "with very different losses. The closed form needs an integer α."
    )
    rows: list[list[Cell]] = []
    for i in range(len(delta)):
        rows.append([float(delta[i]), float(delta[i] / gamma.mean), replace_nan(closed[i]), float(quadrature[i])])
    if gamma == PAPER:
        columns["paper's Table 1"] = ".3f"
        note += (
            " Rounded to four decimals and then to three, all values are the paper's; the exact first one is "
            "0.09347, which rounded once is 0.093, not 0.094."
        )
        for row, value in zip(rows, PAPER_TABLE_1, strict=True):
            row.append(value)
    return Table(
        "pair_probability", f"P(|l_i − l_j| ≤ δ) for two losses from {_format_gamma(gamma)}",
        note, columns, rows,
    )  # fmt: skip


def build_share_table(gamma: Gamma) -> Table:
    """Build the table of E[t | l_i - l_j = δ] by closed form, quadrature and simulation."""
    delta = np.array([0.0, *scale_deltas(gamma)])
    closed = gamma_pairs.expected_share_closed(delta, gamma)
    quadrature = gamma_pairs.expected_share_quadrature(delta, gamma)
    rng = np.random.default_rng(0)
    rows: list[list[Cell]] = []
    for i in range(len(delta)):
        mean, error = gamma_pairs.sample_expected_share(float(delta[i]), gamma, rng)
        rows.append([float(delta[i]), replace_nan(closed[i]), float(quadrature[i]), mean, error])
    columns = {"δ": ".4g", "closed form": ".10f", "quadrature": ".10f", "Monte Carlo": ".5f", "standard error": ".5f"}
    return Table(
        "expected_share", f"E[t | l_i − l_j = δ] for two losses from {_format_gamma(gamma)}",
        "The expected true share of the worse image: where LearningLoss++ pulls the predicted share q to. The closed "
        "form needs an integer α, and is left out where rounding errors could reach 1e-9.",
        columns, rows,
    )  # fmt: skip


def build_gradient_table(gamma: Gamma) -> Table:
    """Build the table of E[q - t | l_i - l_j = δ] over q and δ (the paper's Table 2), next to Learning Loss."""
    delta = scale_deltas(gamma)
    share = gamma_pairs.expected_share(delta, gamma)
    difference = np.log(SHARES / (1 - SHARES))  # d, with sigmoid(d) = q
    # Any two losses with l_i > l_j give the same coefficients.
    ranking = ranking_coefficient(difference, 1.0, 0.0)
    rows: list[list[Cell]] = []
    for q, coefficient in zip(SHARES.tolist(), ranking.tolist(), strict=True):
        rows.append([q, *(q - share).tolist(), coefficient])
    columns = {"q": ".1f"}
    for d in delta:
        columns[f"δ = {d:.4g}"] = "+.3f"
    columns["Learning Loss, any δ > 0"] = "+.0f"
    return Table(
        "expected_gradient", f"Expected gradient E[q − t | l_i − l_j = δ] for two losses from {_format_gamma(gamma)}",
        "Coefficient of θ_i − θ_j. LearningLoss++ vanishes where q is the expected share and grows with the distance "
        "from it; Learning Loss (margin 1) is −1 up to q = σ(1) = 0.731 however small δ is, and 0 beyond. The layout "
        "is the paper's Table 2; its printed values were not at hand to compare with.",
        columns, rows,
    )  # fmt: skip


def _format_gamma(gamma: Gamma) -> str:
    return f"Gamma(α = {gamma.alpha:g}, β = {gamma.beta:g})"
