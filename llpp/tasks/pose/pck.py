"""PCK: pure functions, and a torchmetrics metric on top of them.

N or B images, K joints. Lengths are all in pixels of the image or all in pixels of the crop: PCK only compares
their ratios.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from llpp.errors import ConfigError
from llpp.setting_rules import check_setting

AREA_UNIT = 2.0**-32  # areas are summed as multiples of it: whole numbers have the same sum in every order


@dataclass(frozen=True)
class PCKDefinition:
    """Which joints count as found: `PCK@0.2` of the torso, `PCKh@0.5`, … (see conf/pck)."""

    name: str = "PCK"
    normaliser: str = "torso"  # length that distances are divided by, one of the dataset's
    factor: float = 1.0  # of the normaliser
    threshold: float = 0.2  # share of factor × normaliser
    curve: Sequence[float] = ()  # further thresholds that are reported
    auc_limit: float = 0.5  # the area under the curve runs from 0 to here
    joints: Literal["labelled", "visible"] = "labelled"  # visible: joints marked as occluded count nowhere
    exclude: Sequence[str] = ()  # joints left out of the mean

    def __post_init__(self) -> None:
        for key in ("factor", "threshold", "curve", "auc_limit", "joints", "exclude"):
            check_setting(f"pck.{key}", getattr(self, key))

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The main threshold, then those of the curve."""
        return (self.threshold, *self.curve)

    def format_label(self, estimated: bool) -> str:
        """The metric as it is called in tables; `~` says that the normaliser is an estimate."""
        return f"{self.name}{'~' if estimated else ''}@{self.threshold:g}"


def compute_joint_distances(pred: Tensor, target: Tensor, visible: Tensor, normaliser: Tensor) -> Tensor:
    """Distance from prediction to truth in normalisers (Yang & Ramanan 2013).

    Args:
        pred: (B, K, 2).
        target: (B, K, 2); ignored where `visible` is 0.
        visible: (B, K), 0 where a joint does not count.
        normaliser: (B,) torso or head length; an image where it is NaN or 0 counts nowhere.

    Returns:
        (B, K); NaN where a joint does not count, infinite where the prediction is no number.
    """
    squared = (pred.float() - target.float()).square_()  # hypot and norms take ten times longer
    distance = squared[..., 0].add(squared[..., 1]).sqrt_().nan_to_num_(nan=torch.inf)
    length = normaliser.where(_is_valid_normaliser(normaliser), torch.nan)
    counted = visible.float()  # 0/0 is NaN; a mask takes as long as all the rest
    return distance.div_(length[:, None]).mul_(counted / counted)


def _is_valid_normaliser(normaliser: Tensor) -> Tensor:
    return (normaliser > 0) & (normaliser < torch.inf)


def compute_image_pck(distance: Tensor, threshold: float) -> Tensor:
    """Share of an image's counted joints within `threshold`: (B, K) → (B,); NaN where none counts."""
    counted = ~distance.isnan()
    return (distance <= threshold).sum(dim=1) / counted.sum(dim=1).where(counted.any(dim=1), torch.nan)


def count_within(distance: Tensor, thresholds: Sequence[float]) -> Tensor:
    """How many of (B, K) distances, B < 2^24, are within each of T thresholds, by joint: (T, K); NaN never is."""
    if distance.device.type != "cpu":
        return torch.stack([(distance <= limit).sum(dim=0) for limit in thresholds])
    # one after the other in the same memory, counted by a product: the largest part of an update otherwise
    inside, ones = torch.empty_like(distance), distance.new_ones(len(distance))
    with torch.autocast("cpu", enabled=False):  # bfloat16 counts to 256
        return torch.stack([ones @ torch.le(distance, limit, out=inside) for limit in thresholds]).long()


class PCK(Metric):
    """Share of joints within a threshold, per joint and as their mean; sums, so any number of devices agree.

    The mean is over joints, unweighted, without excluded ones and those never counted. Images without a
    normaliser are left out and reported as `undefined`.
    """

    full_state_update = False
    correct: Tensor  # (T, K) joints within each threshold
    area: Tensor  # (K,) sum of the exact areas under a joint's step from wrong to right, in multiples of AREA_UNIT
    total: Tensor  # (K,)
    undefined: Tensor

    def __init__(self, joint_names: Sequence[str], definition: PCKDefinition) -> None:
        super().__init__()
        if strangers := sorted(set(definition.exclude) - set(joint_names)):
            raise ConfigError(f"pck.exclude names unknown joints {strangers}; the dataset has {list(joint_names)}")
        self.joint_names, self.definition = tuple(joint_names), definition
        joints = len(self.joint_names)
        self.add_state("correct", torch.zeros(len(definition.thresholds), joints, dtype=torch.long), "sum")
        self.add_state("area", torch.zeros(joints, dtype=torch.long), "sum")
        self.add_state("total", torch.zeros(joints, dtype=torch.long), "sum")
        self.add_state("undefined", torch.zeros((), dtype=torch.long), "sum")

    def compute_distances(self, pred: Tensor, target: Tensor, visible: Tensor, normaliser: Tensor) -> Tensor:
        """See `compute_joint_distances`; of the joints that this definition counts."""
        counted = visible >= 2 if self.definition.joints == "visible" else visible
        return compute_joint_distances(pred, target, counted, normaliser)

    def compute_per_image(self, distance: Tensor) -> Tensor:
        """PCK of each image at the main threshold, over the joints of the mean: (B, K) → (B,)."""
        return compute_image_pck(self._drop_excluded(distance), self.definition.threshold)

    def _drop_excluded(self, values: Tensor) -> Tensor:
        """Of (…, K) the joints of the mean; column by column, because a mask would have to be read by the host."""
        kept = [k for k, name in enumerate(self.joint_names) if name not in self.definition.exclude]
        if len(kept) == len(self.joint_names):
            return values
        return torch.stack([values[..., k] for k in kept], dim=-1) if kept else values[..., :0]

    def update(self, pred: Tensor, target: Tensor, visible: Tensor, normaliser: Tensor) -> None:
        """Add (B, K, 2) predictions; see `compute_joint_distances` for the arguments."""
        distance = self.compute_distances(pred, target, visible, normaliser)
        counts = count_within(distance, (*self.definition.thresholds, torch.inf))
        self.correct += counts[:-1]
        self.total += counts[-1]
        share = distance.double().mul_(-1 / (AREA_UNIT * self.definition.auc_limit)).add_(1 / AREA_UNIT).clamp_(min=0)
        self.area += share.round_().nan_to_num_(nan=0.0).sum(dim=0).long()  # exact below 2^21 images
        self.undefined += (visible.any(dim=1) & ~_is_valid_normaliser(normaliser)).sum()

    def compute(self) -> dict[str, Tensor]:
        """`mean`, `auc` (0 to 1), `undefined` (images), `at/<threshold>` of the curve and `joint/<name>`."""
        total = self.total.where(self.total > 0, torch.nan)
        share = self.correct / total
        main, curve = share[0], share[1:]
        area = self.area.double() * AREA_UNIT / total
        found = {"mean": self._drop_excluded(main).nanmean(), "auc": self._drop_excluded(area).nanmean()}
        if len(curve):
            means = self._drop_excluded(curve).nanmean(dim=-1)
            found |= {f"at/{t:g}": value for t, value in zip(self.definition.curve, means.unbind(), strict=True)}
        joints = {f"joint/{n}": value for n, value in zip(self.joint_names, main.unbind(), strict=True)}
        return {**found, "undefined": self.undefined.clone(), **joints}
