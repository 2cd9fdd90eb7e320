"""Pixel-level augmentation (colour, blur, noise) by albumentations, listed in YAML.

Geometry is not done here: `augmentation` and `person_crop` move pixels and joints by the same matrix.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.errors import ConfigError

# Before the import, which reads it and would open a network connection otherwise.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations


class PixelAugmentations:
    """A list of albumentations transforms, seeded again for every sample by (seed, round, epoch, id).

    The library's own generator would be copied into each worker, and all workers would draw the same numbers.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        other = []
        for transform in transforms:
            if not isinstance(transform, albumentations.ImageOnlyTransform):
                other.append(type(transform).__name__)
        if other:
            raise ConfigError(
                f"pixel lists {other}, which are not albumentations pixel transforms (ImageOnlyTransform); "
                "rotation, scale, shift and flip belong to augmentation.*"
            )
        self.compose = albumentations.Compose(list(transforms))

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Augment (H, W, 3) uint8 and return the same shape; equal generators give equal results."""
        self.compose.set_random_seed(int(rng.integers(2**31)))
        augmented = self.compose(image=image)["image"]
        return np.ascontiguousarray(augmented)
