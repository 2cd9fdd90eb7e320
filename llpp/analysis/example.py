"""Five pairs in three dimensions, in the spirit of LearningLoss++ §4.1; docs/mathematics.md works them by hand.

The features and the prediction are fixed and only the true losses change, so every difference between the rows comes
from the objective.
"""

import numpy as np

from llpp.analysis.tables import Cell, Table
from llpp.analysis.theory.gradients import (
    Values,
    compute_weight_gradient,
    kl_coefficient,
    predicted_share,
    ranking_coefficient,
    true_share,
)

FIRST = np.array([3.0, 1.0, 2.0])  # θ_i
SECOND = np.array([1.0, 2.0, 1.0])  # θ_j
WEIGHT = np.log(1.5) * np.array([1.0, 1.0, 0.0])  # w
LOSSES = ((0.90, 0.10), (0.60, 0.40), (0.51, 0.49), (0.49, 0.51), (0.10, 0.90))  # l_i, l_j
DIFFERENCE = float(WEIGHT @ (FIRST - SECOND))  # ln 1.5, so q = 0.6


def compute_coefficients() -> list[tuple[float, float]]:
    """Compute the coefficients of Learning Loss and of LearningLoss++ for every pair of `LOSSES`."""
    first, second = np.array(LOSSES).T
    ranking = ranking_coefficient(DIFFERENCE, first, second)
    kl = kl_coefficient(DIFFERENCE, first, second)
    return list(zip(ranking.tolist(), kl.tolist(), strict=True))


def build_example_table() -> Table:
    """Build the table of both coefficients and of the gradients with respect to w."""
    q = float(predicted_share(DIFFERENCE))
    rows: list[list[Cell]] = []
    for (first, second), (ranking, kl) in zip(LOSSES, compute_coefficients(), strict=True):
        t = float(true_share(first, second))
        ranking_gradient = compute_weight_gradient(ranking, FIRST, SECOND)
        kl_gradient = compute_weight_gradient(kl, FIRST, SECOND)
        gradients = [_format_vector(ranking_gradient), _format_vector(kl_gradient)]
        rows.append([first, second, t, q, ranking, kl, *gradients])
    columns = {
        "l_i": ".2f", "l_j": ".2f", "t": ".2f", "q": ".2f", "LL coefficient": "+.2f", "LL++ coefficient": "+.2f",
        "LL gradient": "", "LL++ gradient": "",
    }  # fmt: skip
    return Table(
        "worked_example",
        "Worked example: θ_i = (3, 1, 2), θ_j = (1, 2, 1), w = ln 1.5 · (1, 1, 0)",
        "Between the third and the fourth pair the losses change by 0.02 each: Learning Loss turns its whole "
        "gradient round, LearningLoss++ changes its coefficient by 0.02. The second pair is predicted perfectly: "
        "LearningLoss++ leaves it alone, Learning Loss keeps pushing until the margin is met. The example is ours, "
        "in the spirit of the paper's §4.1.",
        columns,
        rows,
    )


def _format_vector(vector: Values) -> str:
    # + 0.0 turns -0 into 0; nine decimals hide rounding errors.
    components = [f"{component + 0.0:g}" for component in np.round(vector, 9)]
    return f"({', '.join(components)})"
