"""Pixel-level augmentation (colour, blur, noise) by albumentations, listed in YAML.

Geometry does not go through here: `transforms` moves pixels and joints by one matrix.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.errors import ConfigError

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would open a network connection otherwise
import albumentations  # after the variable that its import reads


class PixelAugmentations:
    """A list of albumentations transforms, seeded anew for every sample.

    Left to itself the library's generator is copied into each worker, which then all draw the same numbers.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        if moving := [type(t).__name__ for t in transforms if not isinstance(t, albumentations.ImageOnlyTransform)]:
            raise ConfigError(
                f"pixel lists {moving}, which are not albumentations pixel transforms (ImageOnlyTransform); "
                "rotation, scale, shift and flip belong to augmentation.*"
            )
        self.compose = albumentations.Compose(list(transforms))

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 → the same shape; equal generators give equal results."""
        self.compose.set_random_seed(int(rng.integers(2**31)))
        return np.ascontiguousarray(self.compose(image=image)["image"])
