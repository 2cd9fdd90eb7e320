"""Labels of classification: one class per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Labels, Records
from llpp.errors import DataError
from llpp.ids import Ids

UNKNOWN = -1  # in place of a class


@dataclass(frozen=True)
class ClassLabels(Labels):
    """The class of each of N images, as a position in `classes`."""

    classes: tuple[str, ...]
    index: NDArray[np.int64]  # (N,) UNKNOWN where there is no label
    missing = "no class"

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"classification needs two classes or more; got {list(self.classes)}")
        if len(self.index) and not (self.index.min() >= UNKNOWN and self.index.max() < len(self.classes)):
            raise DataError(
                f"class numbers run from {self.index.min()} to {self.index.max()}; expected 0 to "
                f"{len(self.classes) - 1}, or {UNKNOWN} for an image without a class"
            )

    @property
    def outputs(self) -> int:
        """See `Labels.outputs`."""
        return len(self.classes)

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """See `Labels.is_labelled`."""
        return np.asarray(self.index != UNKNOWN, dtype=np.bool_)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """See `Labels.arrays`."""
        return (self.index,)


def build_records(
    ids: Ids,
    split: NDArray[np.str_],
    classes: Sequence[str],
    index: NDArray[np.int64],
    group: Ids | None = None,
    notes: Sequence[str] = (),
) -> Records[ClassLabels]:
    """Records of images that are taken whole and show one class each; those of the training split may start."""
    return Records(
        ids=ids,
        images=ids,
        split=split,
        boxes=np.full((len(ids), 4), np.nan, dtype=np.float32),
        box_source="image",
        may_start=split == "train",
        labels=ClassLabels(tuple(classes), index),
        group=group,
        notes=tuple(notes),
    )
