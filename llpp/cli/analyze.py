"""The verb `llpp analyze`."""

import argparse
from pathlib import Path


def run_analyze_command(arguments: list[str]) -> int:
    """The objectives' mathematics as tables and figures, and what a run's own losses say about it."""
    parser = argparse.ArgumentParser(prog="llpp analyze", description=run_analyze_command.__doc__)
    parser.add_argument("run_dir", nargs="?", type=Path, metavar="RUN_DIR", help="a run directory to analyse as well")
    parser.add_argument("--output", type=Path, help="where to write (default: RUN_DIR/analysis, or analysis/ here)")
    parser.add_argument("--alpha", type=float, default=4.0, help="shape of the Gamma losses (default: the paper's 4)")
    parser.add_argument("--beta", type=float, default=15.0, help="rate of the Gamma losses (default: the paper's 15)")
    chosen = parser.parse_args(arguments)

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
    output = chosen.output or (chosen.run_dir or Path()) / "analysis"
    page = write_analysis(output, gamma, chosen.run_dir)
    lines = {"δ": [f"{d:.4g}" for d in scale_deltas(gamma)]}
    lines["P(|l_i − l_j| ≤ δ)"] = [f"{p:.4f}" for p in pair_probability(scale_deltas(gamma), gamma)]
    if gamma == PAPER:
        lines["paper's Table 1"] = [f"{p:.3f}" for p in PAPER_TABLE_1]
    for name, cells in lines.items():
        print(f"{name:<20}" + "".join(f"{cell:>9}" for cell in cells))
    print(page)
    return 0
