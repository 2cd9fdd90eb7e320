"""The geometric augmentation of person crops."""

from dataclasses import dataclass

import numpy as np

from llpp.geometry import Warp
from llpp.setting_rules import check_setting


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

    def draw(self, rng: np.random.Generator) -> Warp:
        """Draw a warp; equal generators give equal warps."""
        rotation, log_scale, dx, dy = rng.uniform(-1.0, 1.0, size=4).tolist()
        return Warp(
            rotation=rotation * self.rotation,
            scale=float((1.0 + self.scale) ** log_scale),
            shift=(dx * self.shift, dy * self.shift),
            flip=bool(rng.random() < self.flip),
        )
