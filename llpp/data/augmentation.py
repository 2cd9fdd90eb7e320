"""The geometric augmentation of person crops, for a batch at once."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llpp.data.portable_maths import compute_exponential, compute_sine_and_cosine
from llpp.setting_rules import check_setting

NUMBERS = 5  # that a warp is made of


@dataclass(frozen=True)
class Warps:
    """How B crops are changed; float64."""

    rotation: Tensor  # (B,) degrees, clockwise on the screen
    scale: Tensor  # (B,) > 1 enlarges the person
    shift: Tensor  # (B, 2) share of the crop's side
    flip: Tensor  # (B,) bool, mirrored before it is turned


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which warps are drawn."""

    rotation: float = 0.0  # degrees, uniform in ±rotation
    scale: float = 0.0  # log-uniform in 1 / (1 + scale) … 1 + scale
    shift: float = 0.0  # share of the crop's side, uniform in ±shift on each axis
    flip: float = 0.0  # probability of mirroring

    def __post_init__(self) -> None:
        for name in ("rotation", "scale", "shift", "flip"):
            check_setting(f"augmentation.{name}", getattr(self, name))

    def make_warps(self, numbers: Tensor) -> Warps:
        """Make warps of uniform `numbers` (NUMBERS, B), float64, 0 or more and below 1."""
        rotation, log_scale, dx, dy = (numbers[:4] * 2.0 - 1.0).unbind()
        return Warps(
            rotation=rotation * self.rotation,
            scale=compute_exponential(log_scale * math.log1p(self.scale)),
            shift=torch.stack([dx, dy], dim=1) * self.shift,
            flip=numbers[4] < self.flip,
        )


def build_warp_matrices(warps: Warps, size: int) -> Tensor:
    """Build (B, 3, 3) float64 from an upright crop to the augmented one, which is turned about the crop's centre."""
    sine, cosine = compute_sine_and_cosine(warps.rotation)
    cosine = cosine * warps.scale
    sine = sine * warps.scale
    mirror = 1.0 - warps.flip.double() * 2.0
    a = cosine * mirror
    c = sine * mirror
    centre = (size - 1) / 2
    dx, dy = warps.shift.unbind(1)
    x = dx * size + centre - (a - sine) * centre
    y = dy * size + centre - (c + cosine) * centre
    zero = torch.zeros_like(a)
    rows = [a, -sine, x, c, cosine, y, zero, zero, zero + 1.0]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def start_at_border(matrices: Tensor, border: int) -> Tensor:
    """Let (B, 3, 3) from an upright crop begin at one that is larger by `border` pixels on each side."""
    if not border:
        return matrices
    moved = matrices.clone()
    moved[:, :2, 2] -= (matrices[:, :2, 0] + matrices[:, :2, 1]) * border
    return moved


def multiply(second: Tensor, first: Tensor) -> Tensor:
    """(B, 3, 3) products, by sums and products alone, which every device rounds alike; `first` acts first."""
    columns = second[:, :, :, None] * first[:, None]
    return columns[:, :, 0] + columns[:, :, 1] + columns[:, :, 2]
