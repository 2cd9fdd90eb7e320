"""Whether new images are like those that a promise was made for, by their failure scores alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

BINS = 10
LEAST = 20  # images on either side: fewer show nothing
# A population stability index above 0.25 is by custom a large shift. With few images it is as large by chance, so
# the test of Kolmogorov and Smirnov has to agree.
LARGE_PSI = 0.25
LARGEST_P_VALUE = 0.01
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Drift:
    """How far two sets of failure scores differ."""

    psi: float | None  # population stability index over deciles of the reference; None: too few images
    ks: float | None  # largest difference of the distribution functions
    p_value: float | None  # of that difference
    has_drifted: bool
    sentence: str


def measure_drift(reference: Floats, new: Floats) -> Drift:
    """Compare the failure scores (M,) of new images with those (N,) of the calibration images."""
    before = reference[np.isfinite(reference)].astype(np.float64)
    after = new[np.isfinite(new)].astype(np.float64)
    if min(len(before), len(after)) < LEAST:
        return Drift(
            psi=None,
            ks=None,
            p_value=None,
            has_drifted=False,
            sentence=(
                f"whether these images are like the calibration images cannot be seen: it takes {LEAST} of each, and "
                f"there are {len(after)} and {len(before)}"
            ),
        )
    psi = compute_psi(before, after)
    test = ks_2samp(before, after)
    ks = float(test.statistic)
    p_value = float(test.pvalue)
    has_drifted = psi > LARGE_PSI and p_value < LARGEST_P_VALUE
    measured = f"PSI {psi:.2f}, KS {ks:.2f}"
    if has_drifted:
        sentence = (
            f"the failure scores of these images are not like those of the calibration images ({measured}): no "
            f"promise about failures holds for them any longer; label {LEAST} or more random ones of them, train, "
            "and predict again"
        )
    else:
        sentence = f"the failure scores of these images are like those of the calibration images ({measured})"
    return Drift(psi, ks, p_value, has_drifted, sentence)


def compute_psi(reference: Floats, new: Floats) -> float:
    """The population stability index: Σ (q - p) ln(q / p) over deciles of the reference.

    Half an image is added to each bin, because an empty one would be infinitely far.
    """
    edges = np.unique(np.quantile(reference, np.arange(1, BINS) / BINS))
    before = np.bincount(np.searchsorted(edges, reference, side="left"), minlength=len(edges) + 1) + 0.5
    after = np.bincount(np.searchsorted(edges, new, side="left"), minlength=len(edges) + 1) + 0.5
    p = before / before.sum()
    q = after / after.sum()
    return float(((q - p) * np.log(q / p)).sum())
