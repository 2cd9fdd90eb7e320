"""The figures as PNG. They stand in a Markdown page, so there is one theme, the report's light one."""

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
from llpp.analysis.theory.gradients import kl_coefficient, ranking_coefficient
from llpp.analysis.theory.observed import compute_pair_share
from llpp.report.figures import DPI
from llpp.report.figures import LIGHT as THEME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORANGE, BLUE, GREEN, PINK = THEME.methods[:4]
SPAN = 3.0  # differences of predictions and of log losses shown


def plot_gradients() -> bytes:
    """Both coefficients over the plane of predicted difference and true losses, and cuts through it."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("signed", [BLUE, THEME.paper, ORANGE])
    axis = np.linspace(-SPAN, SPAN, 600)  # even: no grid line where the losses are equal
    d, ratio = np.meshgrid(axis, np.exp(axis))
    planes = {
        "Learning Loss (Eq. 2)": ranking_coefficient(d, ratio, 1.0),
        "LearningLoss++ (Eq. 4)": kl_coefficient(d, ratio, 1.0),
    }
    with _create_figure(3) as (figure, panels):
        for axes, (title, plane) in zip(panels, planes.items(), strict=False):
            image = axes.imshow(
                plane, cmap=shades, vmin=-1, vmax=1, origin="lower", extent=(-SPAN, SPAN, -SPAN, SPAN)
            )
            axes.set_title(title)
            axes.set_xlabel(r"predicted difference $\hat l_i - \hat l_j$")
            axes.set_ylabel(r"true ratio $l_i / l_j$")
            ratios = (1 / 16, 1 / 4, 1, 4, 16)
            axes.set_yticks(np.log(ratios), ["1/16", "1/4", "1", "4", "16"])
            axes.grid(visible=False)
        for place, text in (((-1, 1.4), "−1"), ((1, -1.4), "+1")):
            panels[0].text(*place, text, color=THEME.paper, fontsize=14, ha="center", va="center")
        panels[1].plot(axis, axis, color=THEME.ink, linewidth=1.2, linestyle="--")
        panels[1].text(-0.9, -0.55, "gradient 0", color=THEME.ink, rotation=45, ha="center", va="center")
        figure.colorbar(image, ax=panels[1], label=r"coefficient of $\theta_i - \theta_j$", shrink=0.9)
        _plot_cuts(panels[2], axis)
        return _encode_png(figure)


def _plot_cuts(axes: "Axes", axis: Any) -> None:
    for ratio, colour in ((1.05, BLUE), (4.0, ORANGE)):
        axes.plot(axis, kl_coefficient(axis, ratio, 1.0), color=colour, label=f"LL++, $l_i / l_j$ = {ratio:g}")
    axes.plot(axis, ranking_coefficient(axis, 2.0, 1.0), color=THEME.ink, linestyle="--", label="LL, any ratio > 1")
    axes.set_title("The coefficient at two true ratios")
    axes.set_xlabel(r"predicted difference $\hat l_i - \hat l_j$")
    axes.set_ylim(-1.1, 1.1)
    axes.legend(loc="upper left")


def plot_worked_example() -> bytes:
    """The gradient's three components for each pair of the worked example."""
    direction = example.FIRST - example.SECOND
    columns = list(zip(*example.compute_coefficients(), strict=True))
    with _create_figure(2, height=3.8) as (figure, panels):
        for axes, title, coefficients in zip(panels, ("Learning Loss", "LearningLoss++"), columns, strict=True):
            for component, colour in enumerate((BLUE, ORANGE, GREEN)):
                places = np.arange(len(coefficients)) + (component - 1) * 0.26
                heights = np.array(coefficients) * direction[component]
                axes.bar(places, heights, 0.24, color=colour, label=f"$\\partial / \\partial w_{component + 1}$")
            axes.axhline(0, color=THEME.muted, linewidth=0.8)
            axes.set_xticks(range(len(coefficients)), [f"{a:.2f}\n{b:.2f}" for a, b in example.LOSSES])
            axes.set_xlabel(r"true losses $l_i$ (upper row) and $l_j$ (lower row)")
            axes.set_ylim(-2.3, 2.3)
            axes.set_title(title)
        panels[0].set_ylabel("gradient of the pair's loss")
        panels[1].legend(loc="upper left", ncols=3)
        return _encode_png(figure)


def plot_pairs(gamma: Gamma) -> bytes:
    """P(|l_i - l_j| ≤ δ), and the expected gradients over the predicted share."""
    with _create_figure(2) as (figure, (left, right)):
        axis = np.linspace(0, 2.5 * gamma.mean, 120)
        left.plot(axis, pair_probability(axis, gamma), color=BLUE)
        if gamma == PAPER:
            left.scatter(PAPER_DELTAS, PAPER_TABLE_1, s=34, color=ORANGE, zorder=3, label="paper's Table 1")
            left.legend(loc="lower right")
        left.set_ylim(0, 1.02)
        left.set_xlabel(f"δ (mean loss: {gamma.mean:.3g})")
        left.set_ylabel(r"$P(|l_i - l_j| \leq \delta)$")
        left.set_title(f"Pairs from Gamma({gamma.alpha:g}, {gamma.beta:g})")
        q = np.linspace(0.001, 0.999, 500)
        chosen = scale_deltas(gamma)[[0, 2, 4, 6]]
        for delta, share, colour in zip(
            chosen, expected_share(chosen, gamma), (BLUE, GREEN, PINK, ORANGE), strict=True
        ):
            right.plot(q, q - share, color=colour, label=f"LL++, δ = {delta:.3g}")
        ranking = ranking_coefficient(np.log(q / (1 - q)), 1.0, 0.0)
        right.plot(q, ranking, color=THEME.ink, linestyle="--", label="LL, any δ > 0")
        right.axhline(0, color=THEME.muted, linewidth=0.8)
        right.set_xlabel("predicted share q")
        right.set_ylabel(r"expected coefficient of $\theta_i - \theta_j$")
        right.set_title(r"Expected gradient given $l_i - l_j = \delta$")
        right.set_ylim(-1.1, 1.1)
        right.legend(loc="upper left")
        return _encode_png(figure)


def plot_fit(losses: RoundLosses) -> bytes:
    """Goodness of fit: density, quantiles, and the share of like pairs."""
    gamma, true = losses.gamma, np.sort(losses.true)
    with _create_figure(3) as (figure, (density, quantiles, noise)):
        low, high = np.quantile(true, (0.005, 0.995))
        axis = np.linspace(max(0.0, 1.2 * low - 0.2 * high), high, 300)[1:]
        density.hist(
            true[(true >= axis[0]) & (true <= axis[-1])],
            bins=30,
            density=True,
            color=BLUE,
            alpha=0.35,
            label="test losses",
        )
        curve = gamma.pdf(axis)
        top = density.get_ylim()[1]
        density.plot(axis, curve, color=ORANGE, label=f"Gamma({gamma.alpha:.2g}, {gamma.beta:.3g})")
        density.set_ylim(0, min(max(top, float(curve.max()) * 1.05), 2 * top))  # α < 1 goes to infinity at 0
        density.set_title(f"True losses, round {losses.round}")
        density.set_xlabel("true loss")
        density.set_ylabel("density")
        density.legend()
        expected = stats.gamma.ppf((np.arange(len(true)) + 0.5) / len(true), gamma.alpha, scale=1 / gamma.beta)
        quantiles.scatter(expected, true, s=14, color=BLUE, alpha=0.6, linewidths=0)
        _plot_diagonal(quantiles, float(min(expected[0], true[0])), float(max(expected[-1], true[-1])))
        quantiles.set_title(f"Quantiles (KS distance {losses.distance:.3f})")
        quantiles.set_xlabel("of the fitted Gamma")
        quantiles.set_ylabel("of the true losses")
        fractions = np.linspace(0, min(2.0, float((true[-1] - true[0]) / true.mean())), 80)
        delta = fractions * true.mean()
        noise.plot(fractions, compute_pair_share(true, delta), color=BLUE, label="all test pairs")
        noise.plot(fractions, pair_probability(delta, gamma), color=ORANGE, linestyle="--", label="fitted Gamma")
        noise.set_ylim(0, 1.02)
        noise.set_title("Pairs that differ by little")
        noise.set_xlabel("δ / mean loss")
        noise.set_ylabel(r"share of pairs with $|l_i - l_j| \leq \delta$")
        noise.legend(loc="lower right")
        return _encode_png(figure)


def plot_reliability(measured: MeasuredRun) -> bytes:
    """Predicted against true ratios of the last round's pairs."""
    from matplotlib.ticker import LogLocator

    bins = measured.last_round.reliability.bins
    predicted, true, low, high, q, t = np.array(
        [(b.predicted_ratio, b.true_ratio, b.true_low, b.true_high, b.predicted_share, b.true_share) for b in bins]
    ).T
    with _create_figure(2) as (figure, (ratios, shares)):
        ratios.fill_between(predicted, low, high, color=BLUE, alpha=0.16, linewidth=0, label="middle half of pairs")
        ratios.plot(predicted, true, color=BLUE, marker="o", markersize=5.5, label="geometric mean")
        widest = max(predicted.max(), high.max())
        if widest > 2:
            ratios.loglog()
            for side in (ratios.xaxis, ratios.yaxis):
                side.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if widest < 15 else (1,)))
                side.set_major_formatter("{x:g}")
                side.set_minor_formatter("")
        _plot_diagonal(ratios, 1.0, float(predicted[np.isfinite(predicted)].max(initial=1.0)))
        ratios.set_title(f"Ratios, round {measured.last_round.round}")
        ratios.set_xlabel(r"predicted ratio $\exp(\hat l_i - \hat l_j)$")
        ratios.set_ylabel(r"true ratio $l_i / l_j$")
        ratios.legend(loc="upper left")
        shares.plot(q, t, color=BLUE, marker="o", markersize=5.5)
        _plot_diagonal(shares, 0.5, 1.0)
        shares.set_title("Shares" if measured.calibrated else f"Shares ({measured.objective}: no log scale)")
        shares.set_xlabel("predicted share q")
        shares.set_ylabel("mean true share t")
        return _encode_png(figure)


def _plot_diagonal(axes: "Axes", low: float, high: float) -> None:
    axes.plot((low, high), (low, high), color=THEME.ink, linewidth=1.2, linestyle="--")


@contextmanager
def _create_figure(count: int, height: float = 4.2) -> "Iterator[tuple[Figure, Sequence[Axes]]]":
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * count + 0.6, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(1, count, squeeze=False).flat)


STYLE: Any = {
    "font.size": 11, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "legend.fontsize": 9.5, "legend.frameon": False, "lines.linewidth": 2,
    "figure.facecolor": THEME.paper, "axes.facecolor": THEME.paper, "savefig.facecolor": THEME.paper,
    "text.color": THEME.ink, "axes.labelcolor": THEME.ink, "axes.titlecolor": THEME.ink,
    "xtick.color": THEME.muted, "ytick.color": THEME.muted, "axes.edgecolor": THEME.grid,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": THEME.grid, "grid.linewidth": 0.8,
}  # fmt: skip


def _encode_png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
