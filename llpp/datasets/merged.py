"""Several datasets as one, by the joints that they have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Normaliser, PoseDataset, Records, Skeleton
from llpp.datasets.images import ImageFiles
from llpp.errors import ConfigError
from llpp.ids import Ids


class MergedDataset(PoseDataset):
    """The records of all `parts`, datasets by name, one after the other, each in the split that it has there.

    Joints are the common ones in the first part's order; `same` gives a joint of some part the name that it has in
    the others (MPII's upper_neck is LSP's neck). Only the parts named in `initial` may be labelled before round 0;
    None: all that may be so in their part.
    """

    def __init__(
        self,
        parts: Mapping[str, PoseDataset],
        same: Mapping[str, str] | None = None,
        initial: Sequence[str] | None = None,
        name: str = "merged",
    ) -> None:
        if not parts:
            raise ConfigError("dataset.parts is empty; name at least one dataset")
        self.name, self.parts = name, list(parts.values())
        if initial is not None and not isinstance(initial, list | tuple):
            raise ConfigError(
                f"dataset.initial={initial!r} is invalid; expected a list of parts, as in [{next(iter(parts))}]"
            )
        if strangers := sorted(set(initial or ()) - set(parts)):
            raise ConfigError(f"dataset.initial names {strangers}; the parts are {list(parts)}")
        names = [[(same or {}).get(joint, joint) for joint in part.skeleton.joints] for part in self.parts]
        joints = [joint for joint in names[0] if all(joint in other for other in names[1:])]
        if not joints:
            raise ConfigError(f"the parts of the dataset have no joint in common: {names}")
        places = [[own.index(joint) for joint in joints] for own in names]
        self.skeleton = _merge_skeletons(joints, self.parts, places)
        self.first_rows = np.cumsum([0, *(len(part.records.ids) for part in self.parts)])
        self.records = _merge_records(parts, places, initial)
        paths = ImageFiles(Path(), (str(path) for part in self.parts for path in part.paths))
        self.paths = paths if len(paths) == len(self.records.ids) else ()

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `PoseDataset.load`."""
        part, own = self._locate(row)
        return part.load(own)

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `PoseDataset.reduced`."""
        part, own = self._locate(row)
        return part.load_reduced(own, most)

    def _locate(self, row: int) -> tuple[PoseDataset, int]:
        part = int(np.searchsorted(self.first_rows, row, side="right")) - 1
        return self.parts[part], row - int(self.first_rows[part])

    def check(self) -> None:
        """See `PoseDataset.check`."""
        for part in self.parts:
            part.check()


def _merge_skeletons(joints: list[str], parts: Sequence[PoseDataset], places: list[list[int]]) -> Skeleton:
    """Pairs of common joints that any part knows, each once."""

    def merge_pairs(kind: str) -> tuple[tuple[int, int], ...]:
        found: dict[frozenset[int], tuple[int, int]] = {}
        for part, place in zip(parts, places, strict=True):
            for a, b in getattr(part.skeleton, kind):
                if a in place and b in place:
                    pair = (place.index(a), place.index(b))
                    found.setdefault(frozenset(pair), pair)
        return tuple(found.values())

    return Skeleton(tuple(joints), merge_pairs("flip_pairs"), merge_pairs("edges"), merge_pairs("torso"))


def _merge_records(
    parts: Mapping[str, PoseDataset], places: list[list[int]], initial: Sequence[str] | None
) -> Records:
    tables = [part.records for part in parts.values()]
    may_start = [t.initial & (initial is None or name in initial) for name, t in zip(parts, tables, strict=True)]
    return Records(
        ids=Ids(_add_prefix(name, i) for name, table in zip(parts, tables, strict=True) for i in table.ids),
        images=Ids(f"{name}/{image}" for name, table in zip(parts, tables, strict=True) for image in table.images),
        split=np.concatenate([table.split for table in tables]),
        joints=np.concatenate([table.joints[:, place] for table, place in zip(tables, places, strict=True)]),
        visible=np.concatenate([table.visible[:, place] for table, place in zip(tables, places, strict=True)]),
        boxes=np.concatenate([table.boxes for table in tables]),
        box_source=" and ".join(dict.fromkeys(table.box_source for table in tables)),
        initial=np.concatenate(may_start),
        ground_truth_boxes=any(table.ground_truth_boxes for table in tables),
        sizes=_merge_normalisers(tables),
        notes=tuple(f"{name}: {note}" for name, table in zip(parts, tables, strict=True) for note in table.notes),
    )


def _add_prefix(part: str, name: str) -> str:
    return name if name.startswith(f"{part}/") else f"{part}/{name}"


def _merge_normalisers(tables: list[Records]) -> dict[str, Normaliser]:
    """Units that every part knows; torso and box follow from the merged joints and boxes."""
    common = [unit for unit in tables[0].sizes if all(unit in table.sizes for table in tables)]
    return {
        unit: Normaliser(
            np.concatenate([table.sizes[unit].values for table in tables]),
            np.concatenate([table.sizes[unit].estimated for table in tables]),
            "; ".join(dict.fromkeys(table.sizes[unit].source for table in tables)),
        )
        for unit in common
    }
