"""Writing the analysis: the tables, the figures, and analysis.md, which shows them."""

from pathlib import Path

from llpp.analysis import example, figures
from llpp.analysis.gamma import build_gradient_table, build_probability_table, build_share_table
from llpp.analysis.measured import (
    NOISE_FRACTION,
    MeasuredRun,
    build_noise_table,
    build_reliability_table,
    build_rounds_table,
    explain_calibration,
    read_measured_run,
)
from llpp.analysis.tables import Table
from llpp.analysis.theory.gamma_pairs import Gamma
from llpp.report.files import write_bytes

Part = Table | tuple[str, bytes, str] | str  # a figure is a name, its PNG and a caption; the rest is prose


def write_analysis(output: Path, gamma: Gamma, run_dir: Path | None = None) -> Path:
    """Write the analysis to `output` and return the path of its page.

    Args:
        output: folder; created if it does not exist.
        gamma: distribution of the losses in the theoretical part.
        run_dir: a run whose losses are analysed as well.

    Raises:
        StateError: `run_dir` is not a run directory, is damaged or has no losses to analyse; or `output` cannot be
            written to.
    """
    # Read first: nothing is written if the run cannot be analysed.
    measured = None
    if run_dir is not None:
        measured = read_measured_run(run_dir)
    parts = _build_theory_parts(gamma)
    if measured is not None:
        parts += _build_run_parts(measured)

    text = []
    for part in parts:
        if isinstance(part, Table):
            write_bytes(output / f"{part.name}.csv", part.to_csv().encode())
            text.append(part.to_markdown())
        elif isinstance(part, tuple):
            name, content, caption = part
            write_bytes(output / f"{name}.png", content)
            text.append(f"![{caption}]({name}.png)\n\n{caption}\n")
        else:
            text.append(f"{part}\n")
    page = output / "analysis.md"
    write_bytes(page, "\n".join(text).encode())
    return page


def _build_theory_parts(gamma: Gamma) -> list[Part]:
    """Build the sections that need no run."""
    return [
        "# The mathematics of Learning Loss and LearningLoss++",
        "For a pair of images (i, j) with true losses l and predictions p = w · θ + b, the gradient with respect "
        "to w is a coefficient times θ_i − θ_j for both objectives: −s while s (p_i − p_j) < 1, else 0, with "
        "s = sign(l_i − l_j), for Learning Loss (LL); q − t for LearningLoss++ (LL++), with the predicted share "
        "q = σ(p_i − p_j) and the true share t = l_i / (l_i + l_j). The derivations are in llpp's "
        "docs/mathematics.md.",
        "## Gradients",
        (
            "gradients", figures.plot_gradients(),
            "The coefficient over predicted differences and true losses: three flat levels that jump where the "
            "losses are equal (left); a smooth surface that is zero exactly where the predicted ratio is the true "
            "one (middle); and cuts through both (right).",
        ),
        (
            "worked_example", figures.plot_worked_example(),
            "The gradient in three dimensions for five pairs of true losses; features and prediction stay, q = 0.6.",
        ),
        example.build_example_table(),
        "## Pairs of Gamma losses",
        (
            "gamma_pairs", figures.plot_pairs(gamma),
            "Left: how many pairs differ by no more than δ. Right: the expected gradient of both objectives for a "
            "pair that differs by δ, over the predicted share.",
        ),
        build_probability_table(gamma), build_share_table(gamma), build_gradient_table(gamma),
    ]  # fmt: skip


def _build_run_parts(measured: MeasuredRun) -> list[Part]:
    """Build the section about a run's own losses."""
    last = measured.last_round
    noise, fitted = last.measure_noise(NOISE_FRACTION)
    missing = ""
    if last.left_out:
        missing = f" ({last.left_out} more lack a finite prediction or a finite loss above 0)"
    return [
        f"## The run {measured.folder.resolve().name}",
        f"Round {last.round}, {len(last.true)} test images{missing}, objective {measured.objective}. "
        f"{noise:.1%} of all pairs have losses that differ by at most {NOISE_FRACTION:.0%} of the mean loss (the "
        f"fitted Gamma says {fitted:.1%}): the ranking objective treats each of them like any other pair. A tenth of "
        "the mean is our choice; the table has others.",
        build_rounds_table(measured),
        (
            "run_gamma", figures.plot_fit(last),
            "Goodness of fit: the true losses against the fitted Gamma as densities and quantiles (points on the "
            "line are a perfect fit), and the share of pairs that differ by at most δ.",
        ),
        build_noise_table(last), explain_calibration(measured),
        (
            "run_reliability", figures.plot_reliability(measured),
            "Reliability: pairs grouped by their predicted ratio, against what their ratio was. On the dashed line "
            "predictions are calibrated; below it, predicted differences are too large, above it too small.",
        ),
        build_reliability_table(last),
    ]  # fmt: skip
