"""A run's own losses: the Gamma that fits them, the noise among their pairs, the calibration of the predictions."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.analysis.tables import Cell, Table, replace_nan
from llpp.analysis.theory.gamma_pairs import Gamma, pair_probability
from llpp.analysis.theory.observed import (
    Reliability,
    compute_ks_distance,
    compute_pair_share,
    fit_gamma,
    measure_reliability,
)
from llpp.errors import StateError
from llpp.report.files import read_columns
from llpp.run_dir.state import Round, load_state

FRACTIONS = (0.05, 0.1, 0.25, 0.5, 1.0)  # δ as fractions of the mean loss
NOISE_FRACTION = 0.1  # the fraction in the summary


@dataclass(frozen=True)
class RoundLosses:
    """Test images of one round whose losses can be compared: predicted (N,), true (N,) above 0."""

    round: int
    labelled: int
    predicted: NDArray[np.float64]
    true: NDArray[np.float64]
    left_out: int  # images whose true loss is unknown or 0, or whose prediction is not finite

    @cached_property
    def gamma(self) -> Gamma:
        """The Gamma fitted to the true losses."""
        return fit_gamma(self.true)

    @cached_property
    def distance(self) -> float:
        """Kolmogorov–Smirnov distance between the true losses and the fitted Gamma, 0 to 1."""
        return compute_ks_distance(self.true, self.gamma)

    @cached_property
    def reliability(self) -> Reliability:
        """Reliability curve of the predicted differences."""
        return measure_reliability(self.predicted, self.true)

    def measure_noise(self, fraction: float) -> tuple[float, float]:
        """Return the share of pairs whose losses differ by at most `fraction` of the mean: measured, and fitted."""
        delta = fraction * float(self.true.mean())
        measured = float(compute_pair_share(self.true, delta))
        fitted = float(pair_probability(delta, self.gamma))
        return measured, fitted


@dataclass(frozen=True)
class MeasuredRun:
    """A run's rounds, oldest first."""

    folder: Path
    objective: str  # class name
    calibrated: bool  # whether the objective makes exp(p_i - p_j) an estimate of l_i / l_j
    rounds: tuple[RoundLosses, ...]

    @property
    def last_round(self) -> RoundLosses:
        """The latest round."""
        return self.rounds[-1]


def read_measured_run(folder: Path) -> MeasuredRun:
    """Read the test losses of a run's committed rounds.

    Raises:
        StateError: `folder` is not a run directory or is damaged, or no round has losses that can be compared.
    """
    state = None
    if folder.is_dir():
        state = load_state(folder / "state.json")
    if state is None:
        raise StateError(f"{folder} is not a run directory (it has no state.json); give one that llpp run has made")
    rounds = []
    for committed in state.rounds:
        losses = _read_round(folder, committed)
        if losses is not None:
            rounds.append(losses)
    if not rounds:
        raise StateError(
            f"no round of {folder} has test images with different finite losses above 0 (test.parquet of "
            f"{len(state.rounds)} committed rounds); let a round finish, or test on more images"
        )
    target = str(state.result_settings.get("objective._target_", "an unknown objective"))
    class_name = target.rpartition(".")[2]
    return MeasuredRun(folder, class_name, calibrated=".kl." in target, rounds=tuple(rounds))


def _read_round(folder: Path, committed: Round) -> RoundLosses | None:
    """Read a round's test losses; None if it was not tested or has no two different losses to compare."""
    path = folder / f"round_{committed.number:02d}" / "test.parquet"
    if not path.exists():
        return None
    columns = read_columns(path, ("predicted_loss", "true_loss"), committed.files.get("test.parquet"))
    if columns is None:
        raise StateError(f"{path} cannot be read as a score table; restore it from a backup, or run that round again")
    predicted = columns["predicted_loss"].astype(float)
    true = columns["true_loss"].astype(float)
    usable = np.isfinite(predicted) & np.isfinite(true) & (true > 0)
    if len(np.unique(true[usable])) < 2:
        return None
    return RoundLosses(
        round=committed.number,
        labelled=int(committed.row.get("labelled") or 0),
        predicted=predicted[usable],
        true=true[usable],
        left_out=int((~usable).sum()),
    )


def build_rounds_table(measured: MeasuredRun) -> Table:
    """Build the table of all rounds, one row per round."""
    columns = {
        "round": "d",
        "labelled": "d",
        "test images": "d",
        "left out": "d",
        "mean loss": ".4g",
        "α": ".3g",
        "β": ".4g",
        "KS distance": ".3f",
        "noise": ".3f",
        "slope": ".3f",
        "share error": ".3f",
    }
    rows: list[tuple[Cell, ...]] = []
    for losses in measured.rounds:
        noise, _ = losses.measure_noise(NOISE_FRACTION)
        row = (
            losses.round,
            losses.labelled,
            len(losses.true),
            losses.left_out,
            float(losses.true.mean()),
            losses.gamma.alpha,
            losses.gamma.beta,
            losses.distance,
            noise,
            replace_nan(losses.reliability.slope),
            losses.reliability.share_error,
        )
        rows.append(row)
    return Table(
        "run_rounds",
        "All rounds, on their test images",
        "Gamma(α, β) by maximum likelihood; KS distance: largest gap between the measured and the fitted "
        f"distribution function; noise: share of all pairs whose losses differ by at most {NOISE_FRACTION:g} of the "
        "mean; slope: true over predicted log ratio (1 = calibrated, below 1 = predicted differences too large); "
        "share error: mean |q − t| over the bins of the reliability curve.",
        columns,
        rows,
    )


def build_noise_table(losses: RoundLosses) -> Table:
    """Build the table of the share of pairs that differ by little, measured and from the fit."""
    mean = float(losses.true.mean())
    rows = []
    for fraction in FRACTIONS:
        measured, fitted = losses.measure_noise(fraction)
        rows.append((fraction, fraction * mean, measured, fitted))
    return Table(
        "run_noise",
        f"Noise for the ranking objective, round {losses.round}",
        "Share of all pairs of test images with |l_i − l_j| ≤ δ. The ranking objective gives each of them a gradient "
        "of the same size as any other pair, in a direction that a small change of either loss would reverse.",
        {"δ / mean": ".2f", "δ": ".4g", "measured": ".3f", "fitted Gamma": ".3f"},
        rows,
    )


def build_reliability_table(losses: RoundLosses) -> Table:
    """Build the table of the reliability curve, one row per bin."""
    columns = {
        "pairs": "d",
        "predicted ratio": ".3f",
        "true ratio": ".3f",
        "first quartile": ".3f",
        "third quartile": ".3f",
        "predicted share q": ".3f",
        "true share t": ".3f",
    }
    rows: list[tuple[Cell, ...]] = [
        (b.pairs, b.predicted_ratio, b.true_ratio, b.true_low, b.true_high, b.predicted_share, b.true_share)
        for b in losses.reliability.bins
    ]
    return Table(
        "run_reliability",
        f"Calibration of predicted differences, round {losses.round}",
        "Pairs of test images in equally filled bins of |p_i − p_j|, the image predicted to be worse first: "
        "exp(p_i − p_j) against l_i / l_j (geometric mean and quartiles of each bin), and both shares.",
        columns,
        rows,
    )


def explain_calibration(measured: MeasuredRun) -> str:
    """Explain how to read the reliability curve of this run."""
    if measured.calibrated:
        return (
            "LearningLoss++ is at its optimum where predictions are log losses plus a constant, so exp(p_i − p_j) "
            "estimates the ratio of the true losses, and the reliability curve shows how well."
        )
    return (
        f"This run was trained with {measured.objective}, whose predictions are not on a log scale: only "
        "KLObjective makes exp(p_i − p_j) an estimate of the ratio. Read the reliability curve as a description of "
        "the predictions' scale, not as a fault of theirs."
    )
