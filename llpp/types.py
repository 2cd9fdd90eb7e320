"""The values that modules hand to each other.

B batch, K joints, C channels, H and W input pixels, h and w cells of a feature map. Coordinates are (x, y) pixels of
the crop, 0-based, pixel centres at integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# Image crops as they leave the workers, by name:
#   row      (B,) int64, the record's row in the dataset
#   matrix   (B, 3, 3) float32, image pixels → pixels of the final crop
#   image    (B, H, W, 3) uint8 RGB; absent where the device holds all crops
#   warp     (B, 3, 3) float32, pixels of `image` → pixels of the final crop; only where the device resamples
# and what the task says about the labels of these crops, see `Task.crop_labels`.
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class PlacedCrops:
    """Where the crops of a batch come from; tensors on one device."""

    rows: Tensor  # (B,) int64, of the dataset
    matrices: Tensor  # (B, 3, 3) float64, image pixels → pixels of the final crop
    flipped: Tensor  # (B,) bool, whether it is a mirrored image
    idle: Tensor  # (B,) bool, whether it only fills up the batch, and its labels must count nowhere


@dataclass(frozen=True)
class Features:
    """What a backbone offers to a loss head."""

    pyramid: Mapping[int, Tensor]  # stride → (B, C, H / stride, W / stride)
    penultimate: Tensor  # (B, C, h, w), the map that feeds the last layer
    heatmaps: Tensor | None = None  # (B, K, h, w), the last stack's, raw; None: the output is no map

    def detach(self) -> "Features":
        """The same maps cut off from the backbone's graph."""
        pyramid = {stride: maps.detach() for stride, maps in self.pyramid.items()}
        heatmaps = None if self.heatmaps is None else self.heatmaps.detach()
        return Features(pyramid, self.penultimate.detach(), heatmaps)

    def take_first(self, number: int) -> "Features":
        """The features of the first images alone."""
        pyramid = {stride: maps[:number] for stride, maps in self.pyramid.items()}
        heatmaps = None if self.heatmaps is None else self.heatmaps[:number]
        return Features(pyramid, self.penultimate[:number], heatmaps)


@dataclass(frozen=True)
class Output:
    """What a backbone computes: the raw output that its task interprets, and the features behind it."""

    raw: Tensor  # (B, …): heatmaps of every stack (B, S, K, h, w), or logits (B, classes)
    features: Features
    stride: int | None = None  # input pixels per cell of `raw`, where that is a map

    def take_first(self, number: int) -> "Output":
        """The output of the first images alone."""
        return Output(self.raw[:number], self.features.take_first(number), self.stride)


# What has measured a model: validation images; these, and the audit does not contradict them; or the audit.
CompetenceSource = Literal["validation", "both", "audit"]


@dataclass(frozen=True)
class Progress:
    """How far a run has come, for acquisitions that adapt to it."""

    round: int  # number of the round that selects, from 0
    rounds: int | None  # models that the run trains, all but the last of which select; None where it has no end
    labelled: int  # images that the model was trained on
    competence: float | None  # 0 to 1, see `decide_competence`; None where nothing could be measured
    source: CompetenceSource | None = None


@dataclass(frozen=True)
class Candidates:
    """The unlabelled pool as an acquisition function sees it: N ids and what a scoring pass found.

    A column is there only if the acquisition's `needs` names it.
    """

    ids: Sequence[str]  # in a run they are `Ids`: for few of millions read `ids[i]`, for many `ids.take(rows)`
    predicted_loss: NDArray[np.float32] | None = None  # (N,) higher = worse expected result
    true_loss: NDArray[np.float32] | None = None  # (N,) known in simulations only
    embedding: NDArray[np.float32] | None = None  # (N, D) pooled penultimate map
    labelled_embedding: NDArray[np.float32] | None = None  # (L, D) of the labelled ids
    labelled_true_loss: NDArray[np.float32] | None = None  # (L,) of these, NaN where nothing can be compared
    target_embedding: NDArray[np.float32] | None = None  # (T, D) of the images on which the model is to be good
    target_predicted_loss: NDArray[np.float32] | None = None  # (T,) of these
    # Columns of the task by name: (N, …), with `labelled_` before it (L, …), with `target_` (T, …).
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    progress: Progress | None = None
