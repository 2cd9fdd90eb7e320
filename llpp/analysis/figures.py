"""The figures as PNG. They are shown in a Markdown page, so there is one theme, the light one of the report."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from llpp.analysis import example
from llpp.analysis.gamma import PAPER, PAPER_DELTAS, PAPER_TABLE_1, scale_deltas
from llpp.analysis.measured import MeasuredRun, RoundLosses
from llpp.analysis.theory.gamma_pairs import Gamma, expected_share, pair_probability
from llpp.analysis.theory.gradients import Values, kl_coefficient, ranking_coefficient
from llpp.analysis.theory.observed import Bin, compute_pair_share
from llpp.report.figures import DPI, label_log_axis
from llpp.report.figures import LIGHT as THEME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORANGE, BLUE, GREEN, PINK = THEME.methods[:4]
SPAN = 3.0  # differences of predictions and of log losses shown
PREDICTED_DIFFERENCE = r"predicted difference $\hat l_i - \hat l_j$"

STYLE: Any = {
    "font.size": 11, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "legend.fontsize": 9.5, "legend.frameon": False, "lines.linewidth": 2,
    "figure.facecolor": THEME.paper, "axes.facecolor": THEME.paper, "savefig.facecolor": THEME.paper,
    "text.color": THEME.ink, "axes.labelcolor": THEME.ink, "axes.titlecolor": THEME.ink,
    "xtick.color": THEME.muted, "ytick.color": THEME.muted, "axes.edgecolor": THEME.grid,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": THEME.grid, "grid.linewidth": 0.8,
}  # fmt: skip


def plot_gradients() -> bytes:
    """Plot both coefficients over the plane of predicted difference and true losses, and cuts through it."""
    # An even number of grid lines, so that none is where the losses are equal.
    axis = np.linspace(-SPAN, SPAN, 600)
    difference, ratio = np.meshgrid(axis, np.exp(axis))
    with _create_figure(3) as (figure, (ranking, kl, cuts)):
        _plot_plane(ranking, "Learning Loss (Eq. 2)", ranking_coefficient(difference, ratio, 1.0))
        ranking.text(-1, 1.4, "−1", color=THEME.paper, fontsize=14, ha="center", va="center")
        ranking.text(1, -1.4, "+1", color=THEME.paper, fontsize=14, ha="center", va="center")
        image = _plot_plane(kl, "LearningLoss++ (Eq. 4)", kl_coefficient(difference, ratio, 1.0))
        kl.plot(axis, axis, color=THEME.ink, linewidth=1.2, linestyle="--")
        kl.text(-0.9, -0.55, "gradient 0", color=THEME.ink, rotation=45, ha="center", va="center")
        figure.colorbar(image, ax=kl, label=r"coefficient of $\theta_i - \theta_j$", shrink=0.9)
        _plot_cuts(cuts, axis)
        return _encode_png(figure)


def _plot_plane(axes: "Axes", title: str, coefficient: Values) -> Any:
    """Show coefficients (true ratio, predicted difference) from -1 to 1 as an image, and return the image."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("signed", [BLUE, THEME.paper, ORANGE])
    extent = (-SPAN, SPAN, -SPAN, SPAN)
    image = axes.imshow(coefficient, cmap=shades, vmin=-1, vmax=1, origin="lower", extent=extent)
    axes.set_title(title)
    axes.set_xlabel(PREDICTED_DIFFERENCE)
    axes.set_ylabel(r"true ratio $l_i / l_j$")
    axes.set_yticks(np.log((1 / 16, 1 / 4, 1, 4, 16)), ["1/16", "1/4", "1", "4", "16"])
    axes.grid(visible=False)
    return image


def _plot_cuts(axes: "Axes", difference: Values) -> None:
    """Plot both coefficients over the predicted difference at fixed true ratios."""
    for ratio, colour in ((1.05, BLUE), (4.0, ORANGE)):
        coefficient = kl_coefficient(difference, ratio, 1.0)
        axes.plot(difference, coefficient, color=colour, label=f"LL++, $l_i / l_j$ = {ratio:g}")
    coefficient = ranking_coefficient(difference, 2.0, 1.0)
    axes.plot(difference, coefficient, color=THEME.ink, linestyle="--", label="LL, any ratio > 1")
    axes.set_title("The coefficient at two true ratios")
    axes.set_xlabel(PREDICTED_DIFFERENCE)
    axes.set_ylim(-1.1, 1.1)
    axes.legend(loc="upper left")


def plot_worked_example() -> bytes:
    """Plot the gradient's three components for each pair of the worked example."""
    ranking, kl = zip(*example.compute_coefficients(), strict=True)
    with _create_figure(2, height=3.8) as (figure, (left, right)):
        _plot_components(left, "Learning Loss", ranking)
        _plot_components(right, "LearningLoss++", kl)
        left.set_ylabel("gradient of the pair's loss")
        right.legend(loc="upper left", ncols=3)
        return _encode_png(figure)


def _plot_components(axes: "Axes", title: str, coefficients: Sequence[float]) -> None:
    """Plot the gradients with these coefficients as bars, one group per pair and one bar per component."""
    direction = example.FIRST - example.SECOND
    for component, colour in enumerate((BLUE, ORANGE, GREEN)):
        positions = np.arange(len(coefficients)) + (component - 1) * 0.26
        heights = np.array(coefficients) * direction[component]
        axes.bar(positions, heights, 0.24, color=colour, label=f"$\\partial / \\partial w_{component + 1}$")
    axes.axhline(0, color=THEME.muted, linewidth=0.8)
    labels = [f"{first:.2f}\n{second:.2f}" for first, second in example.LOSSES]
    axes.set_xticks(range(len(coefficients)), labels)
    axes.set_xlabel(r"true losses $l_i$ (upper row) and $l_j$ (lower row)")
    axes.set_ylim(-2.3, 2.3)
    axes.set_title(title)


def plot_pairs(gamma: Gamma) -> bytes:
    """Plot P(|l_i - l_j| ≤ δ), and the expected gradients over the predicted share."""
    with _create_figure(2) as (figure, (left, right)):
        _plot_probability(left, gamma)
        _plot_expected_gradient(right, gamma)
        return _encode_png(figure)


def _plot_probability(axes: "Axes", gamma: Gamma) -> None:
    """Plot P(|l_i - l_j| ≤ δ) over δ, with the paper's values if `gamma` has the paper's parameters."""
    delta = np.linspace(0, 2.5 * gamma.mean, 120)
    axes.plot(delta, pair_probability(delta, gamma), color=BLUE)
    if gamma == PAPER:
        axes.scatter(PAPER_DELTAS, PAPER_TABLE_1, s=34, color=ORANGE, zorder=3, label="paper's Table 1")
        axes.legend(loc="lower right")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(f"δ (mean loss: {gamma.mean:.3g})")
    axes.set_ylabel(r"$P(|l_i - l_j| \leq \delta)$")
    axes.set_title(f"Pairs from Gamma({gamma.alpha:g}, {gamma.beta:g})")


def _plot_expected_gradient(axes: "Axes", gamma: Gamma) -> None:
    """Plot E[q - t | l_i - l_j = δ] over q for four δ, and Learning Loss."""
    q = np.linspace(0.001, 0.999, 500)
    deltas = scale_deltas(gamma)[[0, 2, 4, 6]]
    shares = expected_share(deltas, gamma)
    for delta, share, colour in zip(deltas, shares, (BLUE, GREEN, PINK, ORANGE), strict=True):
        axes.plot(q, q - share, color=colour, label=f"LL++, δ = {delta:.3g}")
    # At d = ln(q / (1 - q)); any two losses with l_i > l_j give the same coefficients.
    ranking = ranking_coefficient(np.log(q / (1 - q)), 1.0, 0.0)
    axes.plot(q, ranking, color=THEME.ink, linestyle="--", label="LL, any δ > 0")
    axes.axhline(0, color=THEME.muted, linewidth=0.8)
    axes.set_xlabel("predicted share q")
    axes.set_ylabel(r"expected coefficient of $\theta_i - \theta_j$")
    axes.set_title(r"Expected gradient given $l_i - l_j = \delta$")
    axes.set_ylim(-1.1, 1.1)
    axes.legend(loc="upper left")


def plot_fit(losses: RoundLosses) -> bytes:
    """Plot the goodness of the Gamma's fit: density, quantiles, and the share of pairs that differ by little."""
    with _create_figure(3) as (figure, (density, quantiles, noise)):
        _plot_density(density, losses)
        _plot_quantiles(quantiles, losses)
        _plot_noise(noise, losses)
        return _encode_png(figure)


def _plot_density(axes: "Axes", losses: RoundLosses) -> None:
    """Plot the histogram of the true losses and the density of the fitted Gamma."""
    gamma = losses.gamma
    true = np.sort(losses.true)
    # Without the most extreme losses, which would squeeze the rest; never at 0, where a density can be infinite.
    low, high = np.quantile(true, (0.005, 0.995))
    start = max(0.0, 1.2 * low - 0.2 * high)
    axis = np.linspace(start, high, 300)[1:]
    shown = true[(true >= axis[0]) & (true <= axis[-1])]
    axes.hist(shown, bins=30, density=True, color=BLUE, alpha=0.35, label="test losses")
    bars_top = axes.get_ylim()[1]
    curve = gamma.pdf(axis)
    axes.plot(axis, curve, color=ORANGE, label=f"Gamma({gamma.alpha:.2g}, {gamma.beta:.3g})")
    # For α < 1 the curve goes to infinity at 0; the bars should still fill half of the panel.
    curve_top = float(curve.max()) * 1.05
    axes.set_ylim(0, min(max(bars_top, curve_top), 2 * bars_top))
    axes.set_title(f"True losses, round {losses.round}")
    axes.set_xlabel("true loss")
    axes.set_ylabel("density")
    axes.legend()


def _plot_quantiles(axes: "Axes", losses: RoundLosses) -> None:
    """Plot the quantiles of the true losses against those of the fitted Gamma."""
    gamma = losses.gamma
    true = np.sort(losses.true)
    probabilities = (np.arange(len(true)) + 0.5) / len(true)
    expected = stats.gamma.ppf(probabilities, gamma.alpha, scale=1 / gamma.beta)
    axes.scatter(expected, true, s=14, color=BLUE, alpha=0.6, linewidths=0)
    low = min(expected[0], true[0])
    high = max(expected[-1], true[-1])
    _plot_diagonal(axes, float(low), float(high))
    axes.set_title(f"Quantiles (KS distance {losses.distance:.3f})")
    axes.set_xlabel("of the fitted Gamma")
    axes.set_ylabel("of the true losses")


def _plot_noise(axes: "Axes", losses: RoundLosses) -> None:
    """Plot the share of pairs that differ by at most δ: measured, and the fitted Gamma's."""
    true = np.sort(losses.true)
    mean = true.mean()
    largest = float((true[-1] - true[0]) / mean)
    fractions = np.linspace(0, min(2.0, largest), 80)
    delta = fractions * mean
    axes.plot(fractions, compute_pair_share(true, delta), color=BLUE, label="all test pairs")
    fitted = pair_probability(delta, losses.gamma)
    axes.plot(fractions, fitted, color=ORANGE, linestyle="--", label="fitted Gamma")
    axes.set_ylim(0, 1.02)
    axes.set_title("Pairs that differ by little")
    axes.set_xlabel("δ / mean loss")
    axes.set_ylabel(r"share of pairs with $|l_i - l_j| \leq \delta$")
    axes.legend(loc="lower right")


def plot_reliability(measured: MeasuredRun) -> bytes:
    """Plot true against predicted ratios, and shares, of the pairs of the last round."""
    bins = measured.last_round.reliability.bins
    with _create_figure(2) as (figure, (ratios, shares)):
        _plot_ratios(ratios, bins)
        ratios.set_title(f"Ratios, round {measured.last_round.round}")
        _plot_shares(shares, bins)
        title = "Shares" if measured.calibrated else f"Shares ({measured.objective}: no log scale)"
        shares.set_title(title)
        return _encode_png(figure)


def _plot_ratios(axes: "Axes", bins: Sequence[Bin]) -> None:
    """Plot the true ratio of each bin and its quartiles against the predicted ratio."""
    predicted = np.array([b.predicted_ratio for b in bins])
    true = np.array([b.true_ratio for b in bins])
    low = np.array([b.true_low for b in bins])
    high = np.array([b.true_high for b in bins])
    axes.fill_between(predicted, low, high, color=BLUE, alpha=0.16, linewidth=0, label="middle half of pairs")
    axes.plot(predicted, true, color=BLUE, marker="o", markersize=5.5, label="geometric mean")
    # Ratios far from a log scale can overflow to infinity.
    finite = predicted[np.isfinite(predicted)]
    _plot_diagonal(axes, 1.0, float(finite.max(initial=1.0)))
    if max(predicted.max(), high.max()) > 2:
        axes.loglog()
        label_log_axis(axes.xaxis)
        label_log_axis(axes.yaxis)
    axes.set_xlabel(r"predicted ratio $\exp(\hat l_i - \hat l_j)$")
    axes.set_ylabel(r"true ratio $l_i / l_j$")
    axes.legend(loc="upper left")


def _plot_shares(axes: "Axes", bins: Sequence[Bin]) -> None:
    """Plot the mean true share of each bin against the mean predicted share."""
    predicted = [b.predicted_share for b in bins]
    true = [b.true_share for b in bins]
    axes.plot(predicted, true, color=BLUE, marker="o", markersize=5.5)
    _plot_diagonal(axes, 0.5, 1.0)
    axes.set_xlabel("predicted share q")
    axes.set_ylabel("mean true share t")


def _plot_diagonal(axes: "Axes", low: float, high: float) -> None:
    """Plot the line on which both values are equal."""
    axes.plot((low, high), (low, high), color=THEME.ink, linewidth=1.2, linestyle="--")


@contextmanager
def _create_figure(count: int, height: float = 4.2) -> "Iterator[tuple[Figure, Sequence[Axes]]]":
    """Create a figure with `count` panels in a row; `height` is in inches. Save it before the context ends."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * count + 0.6, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, count, squeeze=False)
        yield figure, list(panels.flat)


def _encode_png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
