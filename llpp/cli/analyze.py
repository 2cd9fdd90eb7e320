"""The verb `llpp analyze`."""

import argparse
from pathlib import Path


def run_analyze_command(arguments: list[str]) -> int:
    """Show the mathematics of the objectives in tables and figures, and how a run's losses compare with it."""
    chosen = _parse_arguments(arguments)

    from llpp.analysis.gamma import PAPER, PAPER_TABLE_1, scale_deltas
    from llpp.analysis.page import write_analysis
    from llpp.analysis.theory.gamma_pairs import MAX_INTEGRATED_ALPHA, Gamma, pair_probability
    from llpp.errors import expect

    expect(
        0.01 <= chosen.alpha <= MAX_INTEGRATED_ALPHA,
        "alpha",
        chosen.alpha,
        f"a number from 0.01 to {MAX_INTEGRATED_ALPHA:,.0f}",
    )
    gamma = Gamma(chosen.alpha, chosen.beta)
    output = chosen.output
    if output is None:
        output = (chosen.run_dir or Path()) / "analysis"
    page = write_analysis(output, gamma, chosen.run_dir)
    deltas = scale_deltas(gamma)
    _print_row("δ", [f"{delta:.4g}" for delta in deltas])
    _print_row("P(|l_i − l_j| ≤ δ)", [f"{probability:.4f}" for probability in pair_probability(deltas, gamma)])
    if gamma == PAPER:
        _print_row("paper's Table 1", [f"{probability:.3f}" for probability in PAPER_TABLE_1])
    print(page)
    return 0


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llpp analyze", description=run_analyze_command.__doc__)
    parser.add_argument("run_dir", nargs="?", type=Path, metavar="RUN_DIR", help="a run directory to analyse as well")
    parser.add_argument("--output", type=Path, help="where to write (default: RUN_DIR/analysis, or analysis/ here)")
    parser.add_argument("--alpha", type=float, default=4.0, help="shape of the Gamma losses (default: the paper's 4)")
    parser.add_argument("--beta", type=float, default=15.0, help="rate of the Gamma losses (default: the paper's 15)")
    return parser.parse_args(arguments)


def _print_row(name: str, cells: list[str]) -> None:
    columns = "".join(f"{cell:>9}" for cell in cells)
    print(f"{name:<20}{columns}")
