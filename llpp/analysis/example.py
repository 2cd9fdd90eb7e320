"""Five pairs in three dimensions, in the spirit of LearningLoss++ §4.1; worked by hand in docs/mathematics.md.

The features and the prediction stay the same and only the true losses change, so that everything that differs
between the rows is the objective's doing.
"""

import numpy as np

from llpp.analysis.tables import Cell, Table
from llpp.analysis.theory.gradients import (
    compute_weight_gradient,
    kl_coefficient,
    predicted_share,
    ranking_coefficient,
    true_share,
)

FIRST, SECOND = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0])  # θ_i, θ_j
WEIGHT = np.log(1.5) * np.array([1.0, 1.0, 0.0])  # w
LOSSES = ((0.90, 0.10), (0.60, 0.40), (0.51, 0.49), (0.49, 0.51), (0.10, 0.90))  # l_i, l_j
DIFFERENCE = float(WEIGHT @ (FIRST - SECOND))  # ln 1.5, so q = 0.6


def compute_coefficients() -> list[tuple[float, float]]:
    """Coefficients of Learning Loss and of LearningLoss++ for every pair of `LOSSES`."""
    first, second = np.array(LOSSES).T
    both = ranking_coefficient(DIFFERENCE, first, second), kl_coefficient(DIFFERENCE, first, second)
    return [(float(ranking), float(kl)) for ranking, kl in zip(*both, strict=True)]


def build_example_table() -> Table:
    """Coefficients and gradients with respect to w."""
    rows: list[list[Cell]] = []
    for pair, coefficients in zip(LOSSES, compute_coefficients(), strict=True):
        vectors = [compute_weight_gradient(c, FIRST, SECOND) for c in coefficients]
        cells = [f"({', '.join(f'{x + 0.0:g}' for x in np.round(vector, 9))})" for vector in vectors]
        rows.append([*pair, float(true_share(*pair)), float(predicted_share(DIFFERENCE)), *coefficients, *cells])
    columns = {
        "l_i": ".2f", "l_j": ".2f", "t": ".2f", "q": ".2f", "LL coefficient": "+.2f", "LL++ coefficient": "+.2f",
        "LL gradient": "", "LL++ gradient": "",
    }  # fmt: skip
    return Table(
        "worked_example",
        "Worked example: θ_i = (3, 1, 2), θ_j = (1, 2, 1), w = ln 1.5 · (1, 1, 0)",
        "Between the third and the fourth pair the losses change by 0.02 each: Learning Loss turns its whole "
        "gradient round, LearningLoss++ changes its coefficient by 0.02. The second pair is predicted perfectly: "
        "LearningLoss++ leaves it alone, Learning Loss goes on pushing until the margin. The example is ours, in "
        "the spirit of the paper's §4.1.",
        columns,
        rows,
    )
