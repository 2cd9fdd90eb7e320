"""How suspicious labels are, from what networks that did not train on them say.

N labels of K joints, P pairs of left and right joints, F features. Each likelihood is the natural logarithm of the
share of a joint's heatmap at some place. A gain is by how much the labels of an image become likelier if they are
explained by one kind of mistake. How much each gain is worth depends on the network: one that cannot tell left from
right sees swapped joints everywhere. So it is learned from copies of the labels in which mistakes were made on
purpose. An oddity that needs no network, such as two joints at one place, counts by how rare it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize

Values = NDArray[np.float64]
# Kinds of mistakes that heatmaps can show, then those that need none.
SWAPPED, MOVED, SHIFTED, OTHER_POSE = "swapped", "moved", "shifted", "other_pose"
DUPLICATED, OUTSIDE, DISAGREEMENT = "duplicated", "outside", "disagreement"
UNCLEAR = "unclear"
MOST_FITTED = 20_000  # labels from which the worth of gains is learned
PENALTY = 1.0  # of squared weights, against the likelihood of all labels
MISSING = -20.0  # nats: of a joint that is not labelled, in place of the gain of moving it


@dataclass(frozen=True, eq=False)
class LabelFits:
    """What heatmaps say about labels."""

    label: Values  # (N, K) log share of each joint's map at its label; NaN where it is not labelled
    partner: Values  # (N, K) the same at the label of its left or right partner; NaN without one
    shifted: Values  # (N,) the sum of `label` if all labels are moved together in the best way
    even: Values  # (N,) log share in a map that is the same everywhere


@dataclass(frozen=True, eq=False)
class Gains:
    """How much likelier the labels of each image become by mistakes of each kind; below 0 where they get less so."""

    swapped: Values  # (N, P) left and right of a pair changed places; 0 where one of them is not labelled
    moved: Values  # (N, K) a joint may be anywhere; MISSING where it is not labelled
    shifted: Values  # (N,) all joints are moved together in the best way
    other_pose: Values  # (N,) all joints may be anywhere, as in the pose of another image
    joints: NDArray[np.int64]  # (N,) how many are labelled, 1 at least


@dataclass(frozen=True, eq=False)
class Suspicion:
    """How suspicious N labels are, and the likeliest mistake of each."""

    total: Values  # (N,) log odds of any mistake, plus the evidence of oddities; NaN where nothing is known
    kind: Sequence[str]  # (N,) UNCLEAR where no kind is likelier than a right label
    by_kind: Mapping[str, Values]  # (N,) log odds of each kind, and evidence of oddities


def compute_gains(fits: LabelFits, pairs: Sequence[tuple[int, int]]) -> Gains:
    """Compute how much each kind of mistake would explain; `pairs` are positions of left and right joints."""
    labelled = np.isfinite(fits.label)
    own = np.where(labelled, fits.label, 0.0).sum(axis=1)
    count = np.maximum(labelled.sum(axis=1), 1)
    swapped = np.zeros((len(fits.label), len(pairs)))
    for number, (left, right) in enumerate(pairs):
        gain = fits.partner[:, left] + fits.partner[:, right] - fits.label[:, left] - fits.label[:, right]
        swapped[:, number] = np.where(np.isfinite(gain), gain, 0.0)
    moved = np.where(labelled, fits.even[:, None] - fits.label, MISSING)
    anywhere = labelled.sum(axis=1) * fits.even
    return Gains(swapped, moved, fits.shifted - own, anywhere - own, count)


def collect_features(fits: LabelFits, gains: Gains, others: Sequence[Values]) -> Values:
    """What is learned from: gains, and `others` (N,), such as the expected loss: (N, F).

    A gain is worth less where the network was expected to fail, which is why `others` are among the features though
    they say nothing about a label by themselves.
    """
    best = np.sort(gains.moved, axis=1)
    second = best[:, -2] if best.shape[1] > 1 else best[:, -1]
    columns = [
        np.maximum(gains.swapped, 0.0).sum(axis=1),
        gains.swapped.sum(axis=1),
        gains.swapped.max(axis=1, initial=0.0),
        best[:, -1],
        second,
        gains.shifted,
        fits.shifted / gains.joints,
        gains.other_pose / gains.joints,
        *others,
    ]
    return np.asarray(np.nan_to_num(np.stack(columns, axis=1)))


@dataclass(frozen=True, eq=False)
class MistakeModel:
    """Which features mistakes have: multinomial logistic regression over right labels, the first class, and kinds."""

    kinds: Sequence[str]
    centre: Values  # (F,)
    scale: Values  # (F,)
    weights: Values  # (F + 1, kinds + 1)

    def compute_log_odds(self, features: Values) -> Values:
        """Log odds of each kind against a right label, if both were equally frequent: (N, F) → (N, kinds)."""
        scores = _add_one((features - self.centre) / self.scale) @ self.weights
        return np.asarray(scores[:, 1:] - scores[:, :1])


def fit_mistakes(right: Values, wrong: Mapping[str, Values]) -> MistakeModel:
    """Learn what mistakes look like.

    Args:
        right: features of labels as they are, (N, F); most of them should be right.
        wrong: features of as many labels with a mistake made on purpose, by kind.
    """
    step = max(1, -(-len(right) // MOST_FITTED))
    tables = [table[::step] for table in (right, *wrong.values())]
    stacked = np.concatenate(tables)
    centre = stacked.mean(axis=0)
    scale = stacked.std(axis=0)
    scale[scale == 0] = 1.0
    inputs = _add_one((stacked - centre) / scale)
    classes = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    shape = (inputs.shape[1], len(tables))
    found = minimize(
        _compute_regression_loss, np.zeros(shape).ravel(), args=(inputs, classes, shape), jac=True, method="L-BFGS-B"
    )
    return MistakeModel(tuple(wrong), centre, scale, found.x.reshape(shape))


def _add_one(inputs: Values) -> Values:
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)


def _compute_regression_loss(
    flat: Values, inputs: Values, classes: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[float, Values]:
    """Mean penalised negative log likelihood and its gradient."""
    weights = flat.reshape(shape)
    scores = inputs @ weights
    scores -= scores.max(axis=1, keepdims=True)
    log_shares = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    rows = np.arange(len(classes))
    loss = -log_shares[rows, classes].sum() + PENALTY * (weights[:-1] ** 2).sum()
    errors = np.exp(log_shares)
    errors[rows, classes] -= 1
    gradient = inputs.T @ errors
    # The constants are free.
    gradient[:-1] += 2 * PENALTY * weights[:-1]
    return float(loss) / len(classes), gradient.ravel() / len(classes)


def measure_rarity(is_odd: NDArray[np.bool_]) -> Values:
    """Evidence of an oddity: minus the log of its share among N labels, and 0 for the others: (N,).

    What half of the labels have is a habit of the annotators, and hardly counts.
    """
    evidence = np.zeros(len(is_odd))
    if is_odd.any():
        evidence[is_odd] = -np.log(is_odd.mean())
    return evidence


def measure_surprise(values: Values) -> Values:
    """Evidence of a large value: minus the log of the share of known values that are as large: (N,), 0 if NaN."""
    known = np.isfinite(values)
    ordered = np.sort(values[known])
    at_least = len(ordered) - np.searchsorted(ordered, values[known], side="left")
    evidence = np.zeros(len(values))
    evidence[known] = -np.log(at_least / max(len(ordered), 1))
    return evidence


def combine_evidence(
    log_odds: Values, kinds: Sequence[str], oddities: Mapping[str, Values], is_known: NDArray[np.bool_]
) -> Suspicion:
    """Put all evidence on one scale.

    Args:
        log_odds: (N, kinds) see `MistakeModel`.
        kinds: their names.
        oddities: evidence (N,) of what needs no network, by kind.
        is_known: (N,) whether a label was judged.
    """
    by_kind = {kind: log_odds[:, column] for column, kind in enumerate(kinds)} | dict(oddities)
    odd = np.sum(list(oddities.values()), axis=0) if oddities else 0.0
    # Any of the kinds: their odds add up.
    total = np.logaddexp.reduce(log_odds, axis=1) + odd
    names = list(by_kind)
    table = np.stack([by_kind[name] for name in names])
    likeliest = table.argmax(axis=0)
    named = []
    for row, number in enumerate(likeliest.tolist()):
        named.append(names[number] if table[number, row] > 0 else UNCLEAR)
    return Suspicion(np.where(is_known, total, np.nan), tuple(named), by_kind)


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


def measure_found(suspicion: Values, made: Mapping[str, Values], shown: int) -> dict[str, float]:
    """Which share of mistakes made on purpose, each alone among the N labels, would be among the `shown` first ones.

    Args:
        suspicion: (N,) of the labels as they are; NaN where unknown.
        made: suspicion (N,) of the labels with a mistake, by its kind.
        shown: how many of the most suspicious labels are looked at.
    """
    known = np.sort(suspicion[np.isfinite(suspicion)])[::-1]
    if not len(known):
        return {}
    threshold = known[min(shown, len(known)) - 1]
    found = {}
    for kind, values in made.items():
        finite = values[np.isfinite(values)]
        found[kind] = float((finite > threshold).mean()) if len(finite) else float("nan")
    return found
