"""Lengths of limbs and how sure they are, from the features of an image (VL4Pose: Shukla et al., BMVC 2022)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llpp.auxiliaries.base import Auxiliary
from llpp.datasets.pose import PoseLabels
from llpp.errors import ConfigError, expect
from llpp.heads.base import FeatureSpec, FullPrecision, average_pool
from llpp.types import Batch, Features

UNIT = 1 / 8  # of the crop's side: about the length of a limb, so that fresh weights are not far off
LEAST_VARIANCE = 1e-3  # in squared units: a limb whose length is known to a thirtieth is surer than labels are
COLUMN = "link_log_likelihood"


class LinkLengthsAuxiliary(Auxiliary):
    """Each link of the skeleton has a length in an image; predicts its mean d and variance v, a Gaussian.

    Learns by the negative log-likelihood ½ (length - d)² / v + ½ ln v, a mean over images and links in which links
    without two labelled joints count 0. The column `link_log_likelihood` (B,) is Σ ln N(length; d, v) over the links
    of the predicted pose, each joint where its heatmap is highest. Published code can also weigh several peaks of
    each joint; that is not offered here. Lengths are in eighths of the crop's side, where published ones are in
    cells: the column differs by a number that is the same for all images.

    The links are a tree: of the skeleton's limbs in their order, those that join two parts not yet joined. d and v
    come from the features of all strides, averaged over their cells, by one hidden layer.

    Args:
        spec: what the backbone offers.
        labels: with the skeleton.
        width: of the hidden layer.
        weight: of the loss.
        trains_backbone: false: the network learns exactly what it learns without this.
    """

    columns = frozenset({COLUMN})

    def __init__(
        self, spec: FeatureSpec, labels: Any, width: int = 128, weight: float = 1.0, trains_backbone: bool = False
    ) -> None:
        super().__init__(weight, trains_backbone)
        expect(type(width) is int and width >= 1, "auxiliary.width", width, "a whole number, 1 or more")
        if not isinstance(labels, PoseLabels):
            raise ConfigError("auxiliary=link_lengths needs joints; leave it out, or use task=pose")
        links = find_tree(labels.skeleton.edges)
        if not links:
            raise ConfigError("auxiliary=link_lengths needs a skeleton with limbs; leave it out, or name the limbs")
        self.side = spec.input_size
        self.strides = sorted(spec.channels)
        # Buffers move to the device; both follow from the skeleton, and checkpoints need not hold them.
        self.register_buffer("starts", torch.tensor([start for start, _ in links]), persistent=False)
        self.register_buffer("ends", torch.tensor([end for _, end in links]), persistent=False)
        inputs = sum(spec.channels.values())
        hidden = nn.Linear(inputs, width)
        self.layers = FullPrecision(hidden, nn.LeakyReLU(0.1, inplace=True), nn.Linear(width, 2 * len(links)))

    def predict_lengths(self, features: Features) -> tuple[Tensor, Tensor]:
        """Mean and variance of each link's length, in units and squared units: (B, links) each."""
        means = [average_pool(features.pyramid[stride]) for stride in self.strides]
        first, second = self.layers(torch.cat(means, dim=1)).chunk(2, dim=1)
        return 1 + first, LEAST_VARIANCE + nn.functional.softplus(second)

    def measure_lengths(self, joints: Tensor) -> Tensor:
        """Lengths of the links, in units: joints (B, K, 2), crop pixels → (B, links)."""
        # Chosen by index_select: indexing by a tensor may make the host wait for the device.
        starts = joints.index_select(1, self.starts)  # type: ignore[arg-type]  # a buffer
        ends = joints.index_select(1, self.ends)  # type: ignore[arg-type]  # likewise
        lengths: Tensor = torch.linalg.vector_norm(starts - ends, dim=2)
        return lengths / (self.side * UNIT)

    def compute_loss(self, features: Features, batch: Batch) -> Tensor:
        """See `Auxiliary.compute_loss`."""
        labelled = batch["visible"] > 0
        starts = labelled.index_select(1, self.starts)  # type: ignore[arg-type]  # a buffer
        known = starts & labelled.index_select(1, self.ends)  # type: ignore[arg-type]  # likewise
        # NaN where a joint is not labelled; a gradient would become NaN as well.
        joints = torch.where(labelled[..., None], batch["joints"], 0.0)
        mean, variance = self.predict_lengths(features)
        surprise = (self.measure_lengths(joints).to(mean.dtype) - mean) ** 2 / variance + variance.log()
        return (0.5 * surprise * known).mean()

    def compute_columns(self, features: Features, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Auxiliary.compute_columns`."""
        mean, variance = self.predict_lengths(features)
        return {COLUMN: sum_log_likelihoods(self.measure_lengths(predictions["joints"]), mean, variance)}


def sum_log_likelihoods(lengths: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Σ over links of ln N(length; mean, variance): (B, links) each → (B,)."""
    surprise = (lengths - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi)
    return -0.5 * surprise.sum(dim=1)


def find_tree(edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those edges, in their order, that join two parts which none before has joined."""
    part = {joint: joint for edge in edges for joint in edge}
    tree = []
    for start, end in edges:
        if part[start] == part[end]:
            continue
        tree.append((start, end))
        joined = part[end]
        for joint, name in part.items():
            if name == joined:
                part[joint] = part[start]
    return tree
