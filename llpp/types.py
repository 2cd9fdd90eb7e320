"""The values that modules hand to each other.

B batch, K joints, S stacks, C channels, H and W input pixels, h and w heatmap cells. Joint coordinates are
(x, y) pixels of the crop, 0-based, pixel centres at integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Batch(TypedDict):
    """Person crops as they leave the workers."""

    image: NotRequired[Tensor]  # (B, H, W, 3) uint8 RGB; with `warp` larger than the crop, unless resident
    joints: Tensor  # (B, K, 2) float32 pixels of the final crop; NaN where visible is 0
    visible: Tensor  # (B, K) uint8, COCO's code
    row: Tensor  # (B,) int64, the record's row in the dataset
    matrix: Tensor  # (B, 3, 3) float32, image pixels → pixels of the final crop
    normaliser: Tensor  # (B,) float32, PCK's unit in pixels of the final crop; NaN if undefined
    warp: NotRequired[Tensor]  # (B, 3, 3) float32, pixels of `image` → pixels of the final crop


@dataclass(frozen=True)
class Features:
    """What the last stack offers to a loss head."""

    pyramid: Mapping[int, Tensor]  # stride → (B, C, H / stride, W / stride), decoder side
    penultimate: Tensor  # (B, C, h, w), the map that feeds the last heatmap convolution

    def detach(self) -> "Features":
        """The same maps cut off from the backbone's graph."""
        return Features({s: m.detach() for s, m in self.pyramid.items()}, self.penultimate.detach())


@dataclass(frozen=True)
class PoseOutput:
    """Raw heatmaps of every stack, and the features of the last."""

    heatmaps: Tensor  # (B, S, K, h, w)
    features: Features

    def take_first(self, number: int) -> "PoseOutput":
        """That of the first images alone."""
        maps = {stride: m[:number] for stride, m in self.features.pyramid.items()}
        return PoseOutput(self.heatmaps[:number], Features(maps, self.features.penultimate[:number]))


@dataclass(frozen=True)
class Candidates:
    """The unlabelled pool as an acquisition function sees it: N ids and what a scoring pass found.

    A column is there only if the acquisition's `needs` names it.
    """

    ids: Sequence[str]  # in a run they are `Ids`: for few of millions read `ids[i]`, for many `ids.take(rows)`
    predicted_loss: NDArray[np.float32] | None = None  # (N,) higher = worse expected pose
    true_loss: NDArray[np.float32] | None = None  # (N,) known in simulations only
    embedding: NDArray[np.float32] | None = None  # (N, D) pooled penultimate map
    labelled_embedding: NDArray[np.float32] | None = None  # (L, D) of the labelled ids
