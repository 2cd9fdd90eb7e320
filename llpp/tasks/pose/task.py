"""Human pose: Gaussian heatmaps of joints, a heatmap loss per image, PCK.

B images, K joints, S stacks, h × w heatmap cells.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from llpp.backbones.base import Backbone
from llpp.datasets.base import AnyDataset
from llpp.datasets.pose import Normaliser, PoseDataset, PoseLabels
from llpp.errors import ConfigError, DataError
from llpp.geometry import move_points
from llpp.heads.evidence import compute_log_shares, measure_distinctness
from llpp.pages.picture_encoding import cut_out
from llpp.pages.viewer import Colour, LayerStyle, Number
from llpp.tasks.base import CONFIDENCE, Arrays, Listing, PictureParts, Shown, Symbol, Task
from llpp.tasks.pose.drawing import (
    LEGEND_GREY,
    SIDE_COLOURS,
    TRUTH_COLOUR,
    VISIBLE,
    draw_dot,
    draw_joints,
    draw_person,
    draw_ring,
    make_picture_skeleton,
)
from llpp.tasks.pose.facts import (
    OCCLUDED,
    describe_joints_beyond_images,
    describe_joints_outside,
    tabulate_joints,
    tabulate_normalisers,
)
from llpp.tasks.pose.heatmap_columns import (
    compute_entropy_of_found_peaks,
    compute_entropy_of_top_peaks,
    compute_heatmap_entropy,
    compute_joint_spread,
    count_found_joints,
)
from llpp.tasks.pose.heatmaps import HeatmapCodec
from llpp.tasks.pose.label_evidence import compute_label_evidence
from llpp.tasks.pose.label_mistakes import KINDS, make_mistakes
from llpp.tasks.pose.losses import PoseLoss
from llpp.tasks.pose.mean_pose import predict_mean_pose
from llpp.tasks.pose.mirroring import check_mirroring, tabulate_sides
from llpp.tasks.pose.pck import PCK, PCKDefinition
from llpp.tasks.record_tensors import RecordTensors
from llpp.tasks.views import MIRRORED, NO_VIEWS, SIX, View, Views, average_views, map_back
from llpp.types import Batch, Output, PlacedCrops

# What `predict` gives next to the confidence: how unlike the heatmaps of the joints are.
DISTINCTNESS = "distinctness"


class PoseTask(Task):
    """Joints of one person per crop.

    Args:
        dataset: has joints as labels.
        loss: compares heatmaps of all stacks with targets.
        pck: see `PCKDefinition`.
        heatmap: `sigma` and `peak` of the targets, see `HeatmapCodec`.
    """

    name = "pose"
    loss_name = "pose_loss"
    metric_name = "pck"
    metric_title = "PCK"
    constant_title = "the mean pose of the labelled images"
    metric_setting = "pck=box"
    part_word = "joint"
    record_word = "persons"
    offers = frozenset({"joints", CONFIDENCE, DISTINCTNESS})
    shown = frozenset({"joints"})
    free_rankers = (CONFIDENCE, DISTINCTNESS)
    extra_columns = frozenset(
        {
            "pose",
            "joint_confidence",
            "joints_found",
            "heatmap_entropy",
            "found_peak_entropy",
            "top_peak_entropy",
            "flip_distance",
            "view_distance",
            "stack_disagreement",
        }
    )
    column_views: Mapping[str, tuple[View, ...]] = {"flip_distance": (MIRRORED,), "view_distance": SIX}
    known_views = ("none", "flip", "six")
    dropout_columns = frozenset({"dropout_disagreement"})

    def __init__(
        self,
        dataset: AnyDataset,
        loss: PoseLoss,
        pck: Mapping[str, Any],
        heatmap: Mapping[str, Any],
    ) -> None:
        labels = dataset.records.labels
        if not isinstance(dataset, PoseDataset) or not isinstance(labels, PoseLabels):
            raise ConfigError(
                f"task=pose needs joints, and dataset {dataset.name} has none; use a dataset of poses, or "
                "task=classification"
            )
        self.dataset: PoseDataset = dataset
        self.labels = labels
        self.loss = loss
        self.definition = PCKDefinition(**pck)
        self.codec = HeatmapCodec(**heatmap)
        self._flip_order = np.array(labels.skeleton.flip_order)
        self._pck = self.make_metric()

    @cached_property
    def _normaliser(self) -> Normaliser:
        """The length of each person; ConfigError where the dataset has none of this name."""
        return self.dataset.get_normaliser(self.definition.normaliser)

    @cached_property
    def _lengths(self) -> NDArray[np.float32]:
        """(N,) what distances are divided by, image pixels."""
        return (self._normaliser.values * self.definition.factor).astype(np.float32)

    @cached_property
    def _tensors(self) -> RecordTensors:
        return RecordTensors({"joints": self.labels.joints, "visible": self.labels.visible, "length": self._lengths})

    @property
    def part_names(self) -> Sequence[str]:
        """See `Task.part_names`."""
        return self.labels.skeleton.joints

    def check_backbone(self, backbone: Backbone) -> None:
        """See `Task.check_backbone`."""
        if backbone.heatmap_stride is None:
            raise ConfigError("task=pose needs a backbone that gives heatmaps; use backbone=hourglass")

    def check_mirroring(self, flip: float) -> list[str]:
        """See `Task.check_mirroring`."""
        return check_mirroring(self.labels.skeleton, flip, self.chosen_views)

    @property
    def label_arrays(self) -> tuple[NDArray[Any], ...]:
        """See `Task.label_arrays`."""
        return self.labels.arrays

    @property
    def normaliser(self) -> NDArray[np.float32]:
        """See `Task.normaliser`; without the definition's factor."""
        return self._normaliser.values

    @property
    def normaliser_source(self) -> str:
        """See `Task.normaliser_source`."""
        return self._normaliser.source

    def count_measurable(self, rows: NDArray[np.int64]) -> int:
        """See `Task.count_measurable`; persons with a joint that counts and a length to divide by."""
        has_length = np.isfinite(self._lengths[rows]) & (self._lengths[rows] > 0)
        return int((self._has_counted_joint(rows) & has_length).sum())

    def _has_counted_joint(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of some persons has a joint in the mean of PCK."""
        least = VISIBLE if self.definition.joints == "visible" else OCCLUDED
        kept = [joint not in self.definition.exclude for joint in self.part_names]
        counted = self.labels.visible[rows][:, kept] >= least
        return np.asarray(counted.any(axis=1))

    def explain_undefined(self, rows: NDArray[np.int64]) -> str:
        """See `Task.explain_undefined`."""
        persons = f"none of the {len(rows)} persons has"
        if not self.labels.is_labelled[rows].any():
            return f"{persons} a labelled joint"
        if not self._has_counted_joint(rows).any():
            return f"{persons} a joint that counts (pck.joints={self.definition.joints}, pck.exclude)"
        return (
            f"{persons} the length that pck.normaliser={self.definition.normaliser} divides by "
            f"({self.normaliser_source})"
        )

    def evaluate_constant(self, known: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Task.evaluate_constant`: the mean pose in every person's box."""
        predicted = predict_mean_pose(self.labels.joints, self.dataset.records.boxes, known, asked)
        quality = self._compute_pck(predicted, self.labels.joints[asked], self.labels.visible[asked], asked)
        quality[np.isnan(predicted).all(axis=(1, 2))] = np.nan
        return quality

    def evaluate_predictions(self, predictions: Arrays, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Task.evaluate_predictions`: PCK of each image."""
        return self._compute_pck(predictions["joints"], self.labels.joints[rows], self.labels.visible[rows], rows)

    def measure_agreement(self, before: Arrays, now: Arrays, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Task.measure_agreement`: the share of an image's joints that have moved less than PCK allows."""
        visible = np.full((len(rows), len(self.part_names)), VISIBLE, dtype=np.uint8)
        return self._compute_pck(now["joints"], before["joints"], visible, rows)

    def count_labels(self, rows: NDArray[np.int64]) -> int:
        """See `Task.count_labels`: labelled joints, occluded ones included."""
        return int((self.labels.visible[rows] > 0).sum())

    def _compute_pck(
        self, predicted: NDArray[Any], true: NDArray[Any], visible: NDArray[np.uint8], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(n,) PCK of joints (n, K, 2), image pixels, of some persons; NaN where no joint counts."""
        shape = (len(rows), len(self.part_names), 2)
        distances = self._pck.compute_distances(
            torch.from_numpy(np.asarray(predicted, dtype=np.float32).reshape(shape)),
            torch.from_numpy(np.asarray(true, dtype=np.float32).reshape(shape)),
            torch.from_numpy(visible),
            torch.from_numpy(self._lengths[rows]),
        )
        return self._pck.compute_per_image(distances).numpy().astype(np.float64)

    def crop_labels(self, crops: PlacedCrops) -> Batch:
        """`joints` (B, K, 2) crop pixels, NaN where `visible` (B, K) is 0; `normaliser` (B,) crop pixels."""
        records = self._tensors.take(crops.rows)
        # By sums and products alone: the libraries' products of matrices differ in the last bit between devices.
        first_row, second_row, _ = crops.matrices[..., None].unbind(1)
        a, b, left = first_row.unbind(1)
        c, d, top = second_row.unbind(1)
        x, y = records["joints"].double().unbind(2)
        joints = torch.stack([x * a + y * b + left, x * c + y * d + top], dim=2).float()
        visible = records["visible"].masked_fill(crops.idle[:, None], 0)
        # In a mirrored image the left wrist is where a right one would be.
        joints = joints.where(~crops.flipped[:, None, None], self._swap_sides(joints))
        visible = visible.where(~crops.flipped[:, None], self._swap_sides(visible))
        scale = (a * d - b * c).abs().sqrt().squeeze(1)
        normaliser = (records["length"].double() * scale).float()
        return {"joints": joints, "visible": visible, "normaliser": normaliser}

    def _swap_sides(self, values: Tensor) -> Tensor:
        """(B, K, …) with those of left and right joints exchanged."""
        # Not by a list of joints, which would have to be sent to the device.
        return torch.stack([values[:, joint] for joint in self._flip_order.tolist()], dim=1)

    def turn_labels(self, batch: Batch, quarters: Tensor, size: int) -> Batch:
        """See `Task.turn_labels`."""
        x, y = batch["joints"].unbind(-1)
        last = size - 1
        # One quarter moves the right edge to the top.
        xs = torch.stack([x, y, last - x, last - y])
        ys = torch.stack([y, last - x, last - y, x])
        images = torch.arange(len(quarters), device=quarters.device)
        joints = torch.stack([xs[quarters, images], ys[quarters, images]], dim=-1)
        return {**batch, "joints": joints}

    def compute_losses(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Task.compute_losses`; an image compares if a labelled joint is on the map."""
        heatmaps = output.raw
        codec = self._get_codec(output)
        shape = (heatmaps.shape[-2], heatmaps.shape[-1])
        has_target = codec.has_target(batch["joints"], batch["visible"], shape)
        target = codec.encode(batch["joints"], batch["visible"], shape)
        return self.loss(heatmaps, target, has_target), has_target.any(dim=1)

    def predict(self, output: Output, views: Views = NO_VIEWS) -> dict[str, Tensor]:
        """`joints` (B, K, 2), crop pixels, from the last stack's heatmaps, `confidence` and `distinctness` (B,).

        The confidence is the mean over joints of the maximum of their maps: 0 or more, and of maps that are shares of
        cells, as with cross-entropy, at most 1. The distinctness is that of `measure_distinctness`, 0 to 1.
        """
        predictions, _ = self.predict_with_heights(output, views)
        return predictions

    def predict_with_heights(self, output: Output, views: Views = NO_VIEWS) -> tuple[dict[str, Tensor], Tensor]:
        """What `predict` gives, and (B, K) the height of each joint's heatmap at the joint, or 0."""
        maps = self._compute_maps(output, views)
        joints, heights = self._get_codec(output).decode(maps)
        heights = heights.clamp(min=0)
        distinctness = measure_distinctness(self._compute_log_shares(maps))
        return {"joints": joints, CONFIDENCE: heights.mean(dim=1), DISTINCTNESS: distinctness}, heights

    def _compute_log_shares(self, maps: Tensor) -> Tensor:
        """(B, K, h, w) logarithms of the cells' shares; heights become shares by a softmax, as heads read them."""
        if self.loss.gives_shares:
            # Many cells of a sure map have a share of 0 in single precision.
            return maps.clamp(min=torch.finfo(maps.dtype).tiny).log()
        return compute_log_shares(maps)

    def compare_with_labels(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """See `Task.compare_with_labels`.

        `joint_heights` (B, K); what `compute_label_evidence` returns; and, with the kind of mistake before its name,
        the same for labels in which such a mistake was made on purpose, see `make_mistakes`.
        """
        maps = self.loss.to_heatmaps(output.raw[:, -1])
        codec = self._get_codec(output)
        order = self._flip_order.tolist()
        joints = batch["joints"]
        visible = batch["visible"]
        _, heights = codec.decode(maps)
        evidence = {"joint_heights": heights.clamp(min=0)}
        evidence |= compute_label_evidence(maps, codec, joints, visible, order)
        for kind in KINDS:
            labels = make_mistakes(kind, joints, visible, order, batch["row"])
            for name, values in compute_label_evidence(maps, codec, *labels, order).items():
                evidence[f"{kind}_{name}"] = values
        return evidence

    def compute_columns(self, names: frozenset[str], output: Output, views: Views = NO_VIEWS) -> dict[str, Tensor]:
        """See `Task.compute_columns`; of heatmaps that are averaged as in `predict`.

        Returns:
            `pose` (B, K, 2): the joints around their mean, as shares of the crop's side, which is that of the box
            times `crop.padding`. `joint_confidence` (B, K): the height of each joint's map, whose mean is the
            confidence. `joints_found` (B,), `heatmap_entropy` (B,), `found_peak_entropy` (B,) and
            `top_peak_entropy` (B,): see `heatmap_columns`. `flip_distance` (B,): the mean distance between the joints
            of the image and those of its mirror image, as a share of the crop's side. `view_distance` (B,): the
            spread of the joints of the image and of its views `SIX`, see `compute_joint_spread`, likewise.
            `stack_disagreement` (B,): the same of all stacks, of the image alone; 0 for a single stack.
        """
        columns: dict[str, Tensor] = {}
        if not names:
            return columns
        codec = self._get_codec(output)
        side = output.raw.shape[-1] * codec.stride
        full_height = self._compute_full_height()
        maps = self._compute_maps(output, views).float()
        if names & {"pose", "joint_confidence", "joints_found"}:
            joints, heights = codec.decode(maps)
            heights = heights.clamp(min=0)
            columns["pose"] = (joints - joints.mean(dim=1, keepdim=True)) / side
            columns["joint_confidence"] = heights
            columns["joints_found"] = count_found_joints(heights, full_height)
        if "heatmap_entropy" in names:
            columns["heatmap_entropy"] = compute_heatmap_entropy(maps)
        if "found_peak_entropy" in names:
            columns["found_peak_entropy"] = compute_entropy_of_found_peaks(maps, full_height)
        if "top_peak_entropy" in names:
            columns["top_peak_entropy"] = compute_entropy_of_top_peaks(maps, full_height)
        if "flip_distance" in names:
            own, _ = codec.decode(self._compute_maps(output))
            other = self._find_joints(codec, MIRRORED, views)
            columns["flip_distance"] = torch.linalg.vector_norm(own - other, dim=2).mean(dim=1) / side
        if "view_distance" in names:
            own, _ = codec.decode(self._compute_maps(output))
            found = torch.stack([own, *(self._find_joints(codec, view, views) for view in SIX)])
            columns["view_distance"] = compute_joint_spread(found) / side
        if "stack_disagreement" in names:
            stacks = self.loss.to_heatmaps(output.raw).float().unbind(1)
            joints = torch.stack([codec.decode(maps)[0] for maps in stacks])
            columns["stack_disagreement"] = compute_joint_spread(joints) / side
        return {name: columns[name] for name in names}

    def measure_spread(self, outputs: Iterable[Output]) -> dict[str, Tensor]:
        """See `Task.measure_spread`.

        `dropout_disagreement`: the spread of the last stack's joints, see `compute_joint_spread`, as a share of the
        crop's side.
        """
        joints = []
        side = 1
        for output in outputs:
            codec = self._get_codec(output)
            side = output.raw.shape[-1] * codec.stride
            joints.append(codec.decode(self._compute_maps(output))[0])
        return {"dropout_disagreement": compute_joint_spread(torch.stack(joints)) / side}

    def _compute_maps(self, output: Output, views: Views = NO_VIEWS) -> Tensor:
        """(B, K, h, w) heatmaps of the last stack, averaged with those of `self.views` that are given."""
        maps = self.loss.to_heatmaps(output.raw[:, -1])
        given = [view for view in self.views if view in views]
        if not given:
            return maps
        return average_views(maps, (self._map_back(view, views) for view in given))

    def _map_back(self, view: View, views: Views) -> tuple[Tensor, Tensor]:
        """Heatmaps (B, K, h, w) of a view, with cells and joints as in the image, and (h, w) bool: see `map_back`."""
        maps, seen = map_back(self.loss.to_heatmaps(views[view][:, -1]), view)
        if view.mirrored:
            maps = self._swap_sides(maps)
        return maps, seen

    def _find_joints(self, codec: HeatmapCodec, view: View, views: Views) -> Tensor:
        """(B, K, 2) joints that a view alone gives, in pixels of the image's crop."""
        maps, seen = self._map_back(view, views)
        joints, _ = codec.decode(maps.where(seen, -torch.inf))
        return joints

    def _compute_full_height(self) -> float:
        """The height of a map where the network is as sure as its targets are."""
        if self.loss.gives_shares:
            # The targets' largest share: 1 over the sum of a Gaussian's cells.
            return 1 / (2 * math.pi * self.codec.sigma**2)
        return self.codec.peak

    def _get_codec(self, output: Output) -> HeatmapCodec:
        return replace(self.codec, stride=cast(int, output.stride))

    def compute_quality(self, predictions: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """PCK of each image: (B,), NaN where no joint counts."""
        distances = self._pck.compute_distances(
            predictions["joints"], batch["joints"], batch["visible"], batch["normaliser"]
        )
        return self._pck.compute_per_image(distances)

    def make_metric(self) -> PCK:
        """See `Task.make_metric`."""
        return PCK(self.part_names, self.definition)

    def update_metric(
        self, metric: Metric | MetricCollection, predictions: Mapping[str, Tensor], batch: Batch
    ) -> None:
        """See `Task.update_metric`."""
        metric.update(predictions["joints"], batch["joints"], batch["visible"], batch["normaliser"])

    def summarise_metric(self, metric: Metric | MetricCollection) -> dict[str, Tensor]:
        """`pck`, `pck_auc`, `pck_at_<threshold>`, `pck_<joint>`, and `undefined`: images without a normaliser."""
        values = cast(dict[str, Tensor], metric.compute())
        summary = {"pck": values["mean"], "pck_auc": values["auc"]}
        for prefix, column in (("at/", "pck_at_"), ("joint/", "pck_")):
            for name, value in values.items():
                if name.startswith(prefix):
                    summary[column + name.removeprefix(prefix)] = value
        summary["undefined"] = values["undefined"]
        return summary

    def describe_metric(self, rows: NDArray[np.int64]) -> str:
        """See `Task.describe_metric`; a tilde marks an estimated normaliser."""
        return self.definition.format_label(bool(self._normaliser.estimated[rows].any()))

    def map_to_image(self, predictions: Arrays, matrices: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """See `Task.map_to_image`."""
        mapped = dict(predictions)
        if "joints" in mapped:
            mapped["joints"] = move_points(mapped["joints"], np.asarray(np.linalg.inv(matrices)))
        return mapped

    def present(self, prediction: Arrays) -> dict[str, Any]:
        """`joints` (K, 2), image pixels."""
        return {"joints": prediction["joints"]}

    def draw(self, image: NDArray[np.uint8], row: int, prediction: Arrays) -> NDArray[np.uint8]:
        """The person's surroundings with labelled and predicted limbs."""
        true = self.labels.joints[row]
        box = self.dataset.records.boxes[row]
        return draw_person(image, true, self._shape_joints(prediction), box, self.labels.skeleton)

    def _shape_joints(self, prediction: Arrays) -> NDArray[Any]:
        """Return the (K, 2) joints of a prediction, which tables hold as a flat list."""
        joints = prediction["joints"]
        count = len(self.labels.skeleton.joints)
        if joints.size != 2 * count:
            raise DataError(f"a prediction has {joints.size // 2} joints, the dataset {count}")
        return np.asarray(joints.reshape(count, 2))

    def describe_pictures(self) -> PictureParts:
        """Labelled and predicted joints, and the distance between them as PCK has it."""
        definition = self.definition
        unit = definition.normaliser
        if definition.factor != 1:
            unit = f"({definition.factor:g} × {unit})"
        return PictureParts(
            layers=(
                LayerStyle("truth", "truth", "t", TRUTH_COLOUR),
                LayerStyle("prediction", "prediction", "p"),
            ),
            skeleton=make_picture_skeleton(self.labels.skeleton),
            joint_value=Number("error", f"error / {unit}"),
        )

    def show(self, image: NDArray[np.uint8], row: int, prediction: Arrays) -> Shown:
        """The person's surroundings; an error is NaN where the joint is not labelled."""
        true = self.labels.joints[row]
        predicted = self._shape_joints(prediction)
        box = self.dataset.records.boxes[row]
        pixels, layers = cut_out(image, box, {"truth": true, "prediction": predicted}, around=true)
        length = self._lengths[row] if self._lengths[row] > 0 else np.nan
        errors = np.hypot(*(predicted - true).T) / length
        return Shown(pixels, layers, errors)

    def describe_labels(self) -> str:
        """See `Task.describe_labels`."""
        skeleton = self.labels.skeleton
        return (
            f"{len(skeleton.joints)} joints, {len(skeleton.flip_pairs)} left–right pairs, {len(skeleton.edges)} limbs"
        )

    def tabulate_labels(self) -> list[Listing]:
        """See `Task.tabulate_labels`."""
        return [
            tabulate_joints(self.labels),
            tabulate_sides(self.labels.skeleton),
            tabulate_normalisers(self.dataset, self.definition.normaliser),
        ]

    def describe_crops(self, padding: float) -> list[str]:
        """See `Task.describe_crops`."""
        return [describe_joints_outside(self.labels, self.dataset.records.boxes, padding)]

    def describe_positions(self, sizes: NDArray[np.float32]) -> list[str]:
        """See `Task.describe_positions`."""
        return describe_joints_beyond_images(self.labels, self.dataset.records.ids, sizes)

    def list_symbols(self) -> list[Symbol]:
        """See `Task.list_symbols`."""
        return [
            Symbol("visible", 60, partial(draw_dot, colour=LEGEND_GREY)),
            Symbol("occluded", 80, partial(draw_ring, colour=LEGEND_GREY)),
            Symbol("left", 44, partial(draw_dot, colour=SIDE_COLOURS["left"])),
            Symbol("right", 52, partial(draw_dot, colour=SIDE_COLOURS["right"])),
            Symbol("middle", 62, partial(draw_dot, colour=SIDE_COLOURS["middle"])),
        ]

    def explain_colours(self) -> list[tuple[Colour, str]]:
        """See `Task.explain_colours`."""
        return [
            (TRUTH_COLOUR, "truth"),
            (SIDE_COLOURS["left"], "predicted, person's left"),
            (SIDE_COLOURS["right"], "predicted, person's right"),
            (SIDE_COLOURS["middle"], "predicted, middle"),
        ]

    def draw_label(self, tile: NDArray[np.uint8], row: int, matrix: NDArray[np.float64]) -> None:
        """Limbs, and a dot for each visible or a ring for each occluded joint."""
        points = move_points(self.labels.joints[row], matrix)
        draw_joints(tile, points, self.labels.visible[row], self.labels.skeleton)
