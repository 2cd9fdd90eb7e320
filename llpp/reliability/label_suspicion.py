"""How suspicious labels are, from what networks that did not train on them say.

N labels of K joints, P pairs of left and right joints. Each likelihood is the natural logarithm of the share of a
joint's heatmap at some place. A gain is by how much the labels of an image become likelier if they are explained by
one kind of mistake; gains of different kinds are in the same unit, so that they add up to one ranking. An oddity that
needs no network, such as two joints at the same place, counts by how rare it is among the labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Values = NDArray[np.float64]
# The kinds of mistakes that heatmaps can show, and that need none.
SWAPPED, MOVED, SHIFTED, OTHER_POSE = "swapped", "moved", "shifted", "other_pose"
DUPLICATED, OUTSIDE, DISAGREEMENT, UNCLEAR = "duplicated", "outside", "disagreement", "unclear"
LEAST_GAIN = 3.0  # below it, no kind of mistake is named: the labels would be 20 times likelier


@dataclass(frozen=True, eq=False)
class LabelFits:
    """What heatmaps say about labels."""

    label: Values  # (N, K) log share of each joint's map at its label; NaN where it is not labelled
    partner: Values  # (N, K) the same at the label of its left or right partner; NaN without one
    shifted: Values  # (N,) the sum of `label` if all labels are moved together in the best way
    even: Values  # (N,) log share in a map that is the same everywhere


@dataclass(frozen=True, eq=False)
class Gains:
    """How much likelier the labels of each image become by one kind of mistake, 0 or more."""

    swapped: Values  # (N,) left and right changed places in those pairs that fit better then
    pairs: NDArray[np.bool_]  # (N, P) these pairs
    moved: Values  # (N,) one joint may be anywhere
    joint: NDArray[np.int64]  # (N,) that joint
    shifted: Values  # (N,) all of them are moved together
    other_pose: Values  # (N,) all of them may be anywhere, as in the pose of another image


@dataclass(frozen=True, eq=False)
class Suspicion:
    """How suspicious N labels are, and the likeliest mistake of each."""

    total: Values  # (N,) the sum of all evidence; NaN where nothing is known about a label
    kind: Sequence[str]  # (N,)
    by_kind: Mapping[str, Values]  # (N,) evidence of each kind


def compute_gains(fits: LabelFits, pairs: Sequence[tuple[int, int]]) -> Gains:
    """Compute how much each kind of mistake would explain; `pairs` are positions of left and right joints."""
    count = len(fits.label)
    labelled = np.isfinite(fits.label)
    own = np.where(labelled, fits.label, 0.0).sum(axis=1)
    by_pair = np.zeros((count, len(pairs)))
    for number, (left, right) in enumerate(pairs):
        gain = fits.partner[:, left] + fits.partner[:, right] - fits.label[:, left] - fits.label[:, right]
        by_pair[:, number] = np.where(np.isfinite(gain), gain, 0.0)
    by_joint = np.where(labelled, fits.even[:, None] - fits.label, -np.inf)
    worst = by_joint.argmax(axis=1) if by_joint.shape[1] else np.zeros(count, dtype=np.int64)
    moved = np.take_along_axis(by_joint, worst[:, None], axis=1)[:, 0]
    anywhere = labelled.sum(axis=1) * fits.even - own
    return Gains(
        swapped=np.maximum(by_pair, 0.0).sum(axis=1),
        pairs=by_pair > 0,
        moved=np.maximum(moved, 0.0),
        joint=worst,
        shifted=np.maximum(fits.shifted - own, 0.0),
        other_pose=np.maximum(anywhere, 0.0),
    )


def measure_rarity(is_odd: NDArray[np.bool_]) -> Values:
    """Evidence of an oddity: minus the log of its share among N labels, and 0 for the others: (N,).

    What half of the labels have is a habit of the annotators, and hardly counts.
    """
    share = is_odd.sum() / max(len(is_odd), 1)
    return np.where(is_odd, -np.log(max(share, 1e-300)), 0.0)


def measure_surprise(values: Values) -> Values:
    """Evidence of a large value: minus the log of the share of known values that are as large: (N,), 0 if NaN."""
    known = np.isfinite(values)
    ordered = np.sort(values[known])
    at_least = len(ordered) - np.searchsorted(ordered, values[known], side="left")
    evidence = np.zeros(len(values))
    evidence[known] = -np.log(at_least / max(len(ordered), 1))
    return evidence


def rank_suspicion(gains: Gains, oddities: Mapping[str, Values], is_known: NDArray[np.bool_]) -> Suspicion:
    """Add up all evidence; `oddities` are (N,) by kind, `is_known` (N,) says which labels were judged."""
    evidence: dict[str, Values] = {
        SWAPPED: gains.swapped,
        MOVED: gains.moved,
        SHIFTED: gains.shifted,
        OTHER_POSE: gains.other_pose,
        **oddities,
    }
    total = np.sum(list(evidence.values()), axis=0)
    names = list(evidence)
    table = np.stack([evidence[name] for name in names])
    best = table.argmax(axis=0)
    kinds = []
    for row, number in enumerate(best.tolist()):
        kinds.append(names[number] if table[number, row] >= LEAST_GAIN else UNCLEAR)
    return Suspicion(np.where(is_known, total, np.nan), tuple(kinds), evidence)


def expect_losses(predicted: Values, true: Values) -> Values:
    """The true loss to expect where a head predicts `predicted` (N,): (N,).

    Heads that were trained on ratios predict a loss up to a constant or its logarithm, and ranking ones only its
    order. So true losses are fitted to predicted ones by a curve that never falls (isotonic regression); NaN where
    no true loss is known at all.
    """
    known = np.isfinite(predicted) & np.isfinite(true)
    if not known.any():
        return np.full(len(true), np.nan)
    losses, members, counts = np.unique(predicted[known], return_inverse=True, return_counts=True)
    means = np.bincount(members, weights=true[known]) / counts
    fitted = isotonic_regression(means, weights=counts.astype(np.float64))
    return np.asarray(np.interp(predicted, losses, fitted.x), dtype=np.float64)


def order_by_suspicion(total: Values) -> NDArray[np.int64]:
    """Rows from the most suspicious label to the least; of equal ones the first, and unknown ones last: (N,)."""
    return np.argsort(-np.where(np.isfinite(total), total, -np.inf), kind="stable")
