"""Puts everything together: the tables, the figures, and analysis.md that shows them."""

from pathlib import Path

from llpp.analysis import example, figures
from llpp.analysis.gamma import gradient_table, probability_table, share_table
from llpp.analysis.measured import NOISE, Measured, calibration, noise_table, read, reliability_table, rounds_table
from llpp.analysis.tables import Table
from llpp.analysis.theory.gamma_pairs import Gamma
from llpp.report.files import write_bytes

Part = Table | tuple[str, bytes, str] | str  # a figure is a name, its PNG and a caption; the rest is prose


def write(output: Path, gamma: Gamma, run_dir: Path | None = None) -> Path:
    """Write the analysis to `output` and return its page.

    Raises:
        StateError: `run_dir` is no run, is damaged or has no losses to analyse; or `output` cannot be written to.
    """
    measured = read(run_dir) if run_dir else None
    parts = [*_theory(gamma), *(_run(measured) if measured else [])]
    text = []
    for part in parts:
        if isinstance(part, Table):
            write_bytes(output / f"{part.name}.csv", part.csv().encode())
            text.append(part.markdown())
        elif isinstance(part, tuple):
            name, content, caption = part
            write_bytes(output / f"{name}.png", content)
            text.append(f"![{caption}]({name}.png)\n\n{caption}\n")
        else:
            text.append(f"{part}\n")
    page = output / "analysis.md"
    write_bytes(page, "\n".join(text).encode())
    return page


def _theory(gamma: Gamma) -> list[Part]:
    return [
        "# The mathematics of Learning Loss and LearningLoss++",
        "For a pair of images (i, j) with true losses l and predictions p = w · θ + b, the gradient with respect "
        "to w is a coefficient times θ_i − θ_j for both objectives: −s while s (p_i − p_j) < 1, else 0, with "
        "s = sign(l_i − l_j), for Learning Loss (LL); q − t for LearningLoss++ (LL++), with the predicted share "
        "q = σ(p_i − p_j) and the true share t = l_i / (l_i + l_j). The derivations are in llpp's "
        "docs/mathematics.md.",
        "## Gradients",
        (
            "gradients", figures.gradients(),
            "The coefficient over predicted differences and true losses: three flat levels that jump where the "
            "losses are equal (left); a smooth surface that is zero exactly where the predicted ratio is the true "
            "one (middle); and cuts through both (right).",
        ),
        (
            "worked_example", figures.worked_example(),
            "The gradient in three dimensions for five pairs of true losses; features and prediction stay, q = 0.6.",
        ),
        example.table(),
        "## Pairs of Gamma losses",
        (
            "gamma_pairs", figures.pairs(gamma),
            "Left: how many pairs differ by no more than δ. Right: the expected gradient of both objectives for a "
            "pair that differs by δ, over the predicted share.",
        ),
        probability_table(gamma), share_table(gamma), gradient_table(gamma),
    ]  # fmt: skip


def _run(measured: Measured) -> list[Part]:
    last = measured.last
    noise, fitted = last.noise(NOISE)
    missing = f" ({last.left_out} more lack a finite prediction or a finite loss above 0)" if last.left_out else ""
    return [
        f"## The run {measured.folder.resolve().name}",
        f"Round {last.round}, {len(last.true)} test images{missing}, objective {measured.objective}. "
        f"{noise:.1%} of all pairs have losses that differ by at most {NOISE:.0%} of the mean loss (the fitted Gamma "
        f"says {fitted:.1%}): the ranking objective treats each of them like any other pair. A tenth of the mean is "
        "our choice; the table has others.",
        rounds_table(measured),
        (
            "run_gamma", figures.fit(last),
            "Goodness of fit: the true losses against the fitted Gamma as densities and quantiles (points on the "
            "line are a perfect fit), and the share of pairs that differ by at most δ.",
        ),
        noise_table(last), calibration(measured),
        (
            "run_reliability", figures.reliability(measured),
            "Reliability: pairs grouped by their predicted ratio, against what their ratio was. On the dashed line "
            "predictions are calibrated; below it, predicted differences are too large, above it too small.",
        ),
        reliability_table(last),
    ]  # fmt: skip
