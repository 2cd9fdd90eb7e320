"""From what networks say about labels to a list of labels, the most suspicious first, each with a likely reason.

N labelled records, K joints.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.checking.cross_fitting import Judgement
from llpp.checking.disagreement import measure_disagreement
from llpp.datasets.base import AnyDataset
from llpp.datasets.images import measure_image
from llpp.datasets.pose import compute_joint_boxes
from llpp.datasets.project.asked_dataset import AskedDataset
from llpp.errors import DataError
from llpp.reliability import label_suspicion
from llpp.reliability.label_suspicion import Gains, LabelFits, Suspicion
from llpp.tasks.base import CONFIDENCE, Task
from llpp.tasks.classification.task import ClassificationTask
from llpp.tasks.pose.label_mistakes import KINDS
from llpp.tasks.pose.task import PoseTask

OTHER_CLASS = "other_class"
SAME_PLACE = 0.005  # of the person's size: joints that are nearer to each other are at one place
SEEN_APART = 0.2  # of the person's size: which is a mistake only if the network sees them so far apart
LEAST_LOSS = 1e-6  # below which logarithms say nothing
OUTSIDE_BOX = 0.25  # of the box's longer side: joints may be a little outside of a box
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """What is found about one label."""

    row: int  # of the dataset
    id: str
    rank: int  # 1 is the most suspicious
    suspicion: float
    reason: str  # a kind of mistake, see `label_suspicion`, or OTHER_CLASS
    details: str  # in words
    joints: tuple[str, ...]  # that these words are about
    true_loss: float
    expected_loss: float
    quality: float  # NaN where it is unknown
    confidence: float  # of the network in its own prediction; NaN where the task has none
    judge: str
    evidence: Mapping[str, float]  # by kind
    shown: Mapping[str, NDArray[np.float64]]  # what the task shows of the prediction, see `Task.shown`
    predicted: NDArray[np.float64] | None = None  # (K, 2) image pixels
    heights: NDArray[np.float64] | None = None  # (K,) of each joint's heatmap there


@dataclass(frozen=True, eq=False)
class _Judged:
    """All judgements together."""

    rows: NDArray[np.int64]  # (N,) of the dataset
    judges: Sequence[str]  # (N,)
    columns: Mapping[str, Values]  # (N, …)
    expected: Values  # (N,)


@dataclass(frozen=True)
class Findings:
    """All labels, the most suspicious first."""

    labels: Sequence[Finding]
    suspicion: Values  # (N,) in that order; NaN where nothing is known about a label
    made: Mapping[str, Values]  # (N,) of the same labels with a mistake made on purpose, by its kind


def list_findings(task: Task, judgements: Sequence[Judgement]) -> Findings:
    """Rank the labels of all judgements."""
    judged = _collect(judgements)
    if isinstance(task, PoseTask):
        return _list_pose_findings(task, judged)
    return _list_class_findings(task, judged)


def _collect(judgements: Sequence[Judgement]) -> _Judged:
    judges: list[str] = []
    expected = []
    for judgement in judgements:
        judges += [judgement.judge] * len(judgement.rows)
        # Each network has a scale of its own.
        predicted = judgement.columns["predicted_loss"].astype(np.float64)
        true = judgement.columns["true_loss"].astype(np.float64)
        expected.append(label_suspicion.expect_losses(predicted, true))
    columns = {}
    for name in judgements[0].columns:
        columns[name] = np.concatenate([judgement.columns[name] for judgement in judgements]).astype(np.float64)
    rows = np.concatenate([judgement.rows for judgement in judgements])
    return _Judged(rows, judges, columns, np.concatenate(expected))


def _list_pose_findings(task: PoseTask, judged: _Judged) -> Findings:
    pairs = task.labels.skeleton.flip_pairs
    fits = _get_fits(judged)
    # A label off the map has no true loss, but fits nowhere: it is among the most suspicious ones.
    known = np.asarray(np.isfinite(fits.label).any(axis=1))
    gains = label_suspicion.compute_gains(fits, pairs)
    others = _list_expectations(judged)
    right = label_suspicion.collect_features(fits, gains, others)
    wrong = {}
    # Without a pair there is nothing to swap.
    for kind in KINDS if pairs else [kind for kind in KINDS if kind != label_suspicion.SWAPPED]:
        made_fits = _get_fits(judged, f"{kind}_")
        made_gains = label_suspicion.compute_gains(made_fits, pairs)
        wrong[kind] = label_suspicion.collect_features(made_fits, made_gains, others)
    model = label_suspicion.fit_mistakes(right[known], {kind: table[known] for kind, table in wrong.items()})
    geometry = _Geometry(task, judged)
    oddities = {
        label_suspicion.DUPLICATED: label_suspicion.measure_rarity(geometry.has_duplicates),
        label_suspicion.OUTSIDE: label_suspicion.measure_rarity(np.asarray(geometry.is_outside.any(axis=1))),
        label_suspicion.DISAGREEMENT: label_suspicion.measure_surprise(geometry.disagreement),
    }
    log_odds = model.compute_log_odds(right)
    suspicion = label_suspicion.combine_evidence(log_odds, model.kinds, oddities, known)
    order = label_suspicion.order_by_suspicion(suspicion.total)
    describer = _Describer(task, gains, geometry)
    findings = []
    for rank, position in enumerate(order.tolist(), start=1):
        details, joints = describer.describe(suspicion.kind[position], position)
        findings.append(_make_finding(task, judged, suspicion, position, rank, details, joints))
    made = {}
    for kind, table in wrong.items():
        made_suspicion = label_suspicion.combine_evidence(model.compute_log_odds(table), model.kinds, oddities, known)
        made[kind] = made_suspicion.total[order]
    return Findings(findings, suspicion.total[order], made)


def _get_fits(judged: _Judged, prefix: str = "") -> LabelFits:
    """What heatmaps say about the labels, or, with a prefix, about those with a mistake made on purpose."""
    label, partner, shifted, even = (
        judged.columns[prefix + name] for name in ("label_fit", "partner_fit", "shift_fit", "even_fit")
    )
    return LabelFits(label, partner, shifted, even)


def _list_expectations(judged: _Judged) -> list[Values]:
    """What was to be expected of each image before its label is seen: by the head, and by the heatmaps."""
    expectations = [np.log(np.maximum(judged.expected, LEAST_LOSS))]
    if CONFIDENCE in judged.columns:
        expectations.append(np.log(np.maximum(judged.columns[CONFIDENCE], LEAST_LOSS)))
    return expectations


def _list_class_findings(task: Task, judged: _Judged) -> Findings:
    """Of labels without joints: how much likelier the network finds its own answer than the label."""
    columns = judged.columns
    true_loss = columns["true_loss"]
    known = np.isfinite(true_loss)
    gain = np.where(known, true_loss, 0.0)
    if CONFIDENCE in columns:
        gain = np.maximum(gain + np.log(np.maximum(columns[CONFIDENCE], 1e-30)), 0.0)
    kinds = np.where(gain > 0, OTHER_CLASS, label_suspicion.UNCLEAR)
    suspicion = Suspicion(np.where(known, gain, np.nan), kinds.tolist(), {OTHER_CLASS: gain})
    order = label_suspicion.order_by_suspicion(suspicion.total)
    findings = []
    for rank, position in enumerate(order.tolist(), start=1):
        row = int(judged.rows[position])
        details = ""
        if isinstance(task, ClassificationTask):
            shown = {name: columns[name][position] for name in task.shown}
            details = task.describe(row, shown)
        findings.append(_make_finding(task, judged, suspicion, position, rank, details, ()))
    return Findings(findings, suspicion.total[order], {})


def _make_finding(
    task: Task,
    judged: _Judged,
    suspicion: Suspicion,
    position: int,
    rank: int,
    details: str,
    joints: tuple[str, ...],
) -> Finding:
    row = int(judged.rows[position])
    columns = judged.columns
    predicted = columns.get("joints")
    heights = columns.get("joint_heights")
    confidence = columns.get(CONFIDENCE, np.full(len(judged.rows), np.nan))
    return Finding(
        row=row,
        id=task.dataset.records.ids[row],
        rank=rank,
        suspicion=float(suspicion.total[position]),
        reason=suspicion.kind[position],
        details=details,
        joints=joints,
        true_loss=float(columns["true_loss"][position]),
        expected_loss=float(judged.expected[position]),
        quality=float(columns["quality"][position]),
        confidence=float(confidence[position]),
        judge=judged.judges[position],
        evidence={kind: float(values[position]) for kind, values in suspicion.by_kind.items()},
        shown={name: columns[name][position] for name in task.shown},
        predicted=None if predicted is None else predicted[position].reshape(-1, 2),
        heights=None if heights is None else heights[position],
    )


class _Geometry:
    """Where labels are: compared with predictions, with each other, with their image and box."""

    def __init__(self, task: PoseTask, judged: _Judged) -> None:
        dataset = task.dataset
        rows = judged.rows
        self.label = task.labels.joints[rows].astype(np.float64)
        self.predicted = judged.columns["joints"].reshape(self.label.shape)
        boxes = dataset.records.boxes[rows].astype(np.float64)
        hulls = compute_joint_boxes(task.labels.joints[rows], task.labels.visible[rows]).astype(np.float64)
        has_box = np.asarray(np.isfinite(boxes).all(axis=1)) & has_person_boxes(dataset)
        # (N,) pixels
        self.size = np.maximum(np.where(has_box[:, None], boxes, hulls)[:, 2:].max(axis=1), 1.0)
        self.distance = np.linalg.norm(self.label - self.predicted, axis=-1)
        self.duplicates = _find_duplicates(self.label, self.predicted, self.size)
        self.has_duplicates = np.array([pair is not None for pair in self.duplicates], dtype=np.bool_)
        self.is_outside: NDArray[np.bool_] = self._find_outside(task, rows, boxes)
        self.disagreement, self.disputed = self._measure_disagreement(task, rows)

    def _find_outside(self, task: PoseTask, rows: NDArray[np.int64], boxes: Values) -> NDArray[np.bool_]:
        """(N, K) whether a joint is outside of its image, or far outside of a box that is not made of joints."""
        outside = np.zeros(self.label.shape[:2], dtype=np.bool_)
        if task.dataset.paths:
            sizes = _measure_images(task.dataset, rows)[:, None]
            # A comparison with NaN is False: nothing is outside of an image whose size is not known.
            outside |= np.any((self.label < -0.5) | (self.label > sizes - 0.5), axis=-1)
        if has_person_boxes(task.dataset):
            margin = OUTSIDE_BOX * boxes[:, 2:].max(axis=1)[:, None, None]
            low = boxes[:, None, :2] - margin
            high = boxes[:, None, :2] + boxes[:, None, 2:] + margin
            outside |= np.any((self.label < low) | (self.label > high), axis=-1)
        return outside

    def _measure_disagreement(
        self, task: PoseTask, rows: NDArray[np.int64]
    ) -> tuple[Values, Sequence[tuple[str, float]]]:
        """(N,) largest distance of two annotators' joints / the person's size, NaN without; which joint, how far."""
        dataset = task.dataset
        far: dict[str, tuple[str, float]] = {}
        if isinstance(dataset, AskedDataset):
            far = measure_disagreement(dataset)
        disputed = [far.get(name, ("", float("nan"))) for name in dataset.records.ids.take(rows)]
        return np.array([distance for _, distance in disputed]) / self.size, disputed


def _measure_images(dataset: AnyDataset, rows: NDArray[np.int64]) -> Values:
    """(N, 2) width and height of the images of some records; NaN where a file cannot be read."""

    def measure(row: int) -> tuple[float, float]:
        try:
            found = measure_image(dataset.paths[row], dataset.get_reading(row))
        except (DataError, OSError):
            return float("nan"), float("nan")
        return found.width, found.height

    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(measure, rows.tolist()))
    return np.array(sizes, dtype=np.float64).reshape(-1, 2)


def has_person_boxes(dataset: AnyDataset) -> bool:
    """Whether boxes say where persons are: those made of joints repeat the label, and whole images say nothing."""
    sources = dataset.records.box_source.split(" and ")
    return any(source not in ("joints", "image") for source in sources)


def _find_duplicates(label: Values, predicted: Values, size: Values) -> list[tuple[int, int] | None]:
    """Two joints of each person that are labelled at the same place and seen apart; None without."""
    found: list[tuple[int, int] | None] = []
    for points, seen, length in zip(label, predicted, size.tolist(), strict=True):
        is_same = _measure_distances(points) <= SAME_PLACE * length
        is_apart = _measure_distances(seen) > SEEN_APART * length
        first, second = np.nonzero(np.triu(is_same & is_apart, k=1))
        found.append((int(first[0]), int(second[0])) if len(first) else None)
    return found


def _measure_distances(points: Values) -> Values:
    """Between each two of K points: (K, K)."""
    return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=-1))


class _Describer:
    """Says in words what may be wrong with a label."""

    def __init__(self, task: PoseTask, gains: Gains, geometry: _Geometry) -> None:
        self.names = task.labels.skeleton.joints
        self.pairs = task.labels.skeleton.flip_pairs
        self.gains = gains
        self.geometry = geometry

    def describe(self, kind: str, position: int) -> tuple[str, tuple[str, ...]]:
        """A few words, and the joints that they are about."""
        geometry = self.geometry
        if kind == label_suspicion.SWAPPED:
            return self._describe_swap(position)
        if kind == label_suspicion.MOVED:
            joint = int(self.gains.moved[position].argmax())
            distance = float(geometry.distance[position, joint])
            share = distance / float(geometry.size[position])
            name = self.names[joint]
            return f"{name} is {distance:.0f} px from where it is expected ({share:.2f} of the person)", (name,)
        if kind == label_suspicion.SHIFTED:
            offset = np.nanmedian(geometry.label[position] - geometry.predicted[position], axis=0)
            x, y = offset.tolist()
            return f"all joints are shifted together, by about {x:+.0f}, {y:+.0f} px (x, y)", ()
        if kind == label_suspicion.OTHER_POSE:
            return "the pose as a whole is another one, as of another image or person", ()
        if kind == label_suspicion.DUPLICATED:
            first, second = geometry.duplicates[position] or (0, 0)
            return f"{self.names[first]} and {self.names[second]} are at the same place", (
                self.names[first],
                self.names[second],
            )
        if kind == label_suspicion.OUTSIDE:
            names = tuple(self.names[joint] for joint in np.flatnonzero(geometry.is_outside[position]).tolist())
            return f"outside of the image or the box: {', '.join(names)}", names
        if kind == label_suspicion.DISAGREEMENT:
            name, distance = geometry.disputed[position]
            return f"two annotators are {distance:.0f} px apart about {name}", (name,)
        return "no single mistake explains it", ()

    def _describe_swap(self, position: int) -> tuple[str, tuple[str, ...]]:
        gains = self.gains.swapped[position].tolist()
        swapped = [pair for pair, gain in zip(self.pairs, gains, strict=True) if gain > 0]
        names = tuple(self.names[joint] for pair in swapped for joint in pair)
        listed = ", ".join(f"{self.names[first]} and {self.names[second]}" for first, second in swapped)
        return f"left and right may be swapped: {listed}", names
