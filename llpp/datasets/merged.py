"""Several datasets of poses as one, by the joints that they have in common."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Records
from llpp.datasets.flip_pairs import AUTO, EXAMPLE, FlipPairs, resolve_flip_pairs
from llpp.datasets.images import ImageFiles, Reading
from llpp.datasets.joint_names import Pairs
from llpp.datasets.pose import Normaliser, PoseDataset, PoseLabels, Skeleton
from llpp.errors import ConfigError
from llpp.ids import Ids


class MergedDataset(PoseDataset):
    """The records of all `parts`, datasets by name, one after the other, each in the split that it has there.

    Joints are the common ones in the first part's order; `same` gives a joint of some part the name that it has in
    the others (MPII's upper_neck is LSP's neck). Only the parts named in `initial` may be labelled before round 0;
    None: all that may be so in their part. `flip_pairs` names the joints that change places in a mirrored image;
    auto: those of the parts.
    """

    def __init__(
        self,
        parts: Mapping[str, PoseDataset],
        same: Mapping[str, str] | None = None,
        initial: Sequence[str] | None = None,
        name: str = "merged",
        flip_pairs: FlipPairs = AUTO,
    ) -> None:
        if not parts:
            raise ConfigError("dataset.parts is empty; name at least one dataset")
        _check_initial(initial, parts)
        self.name = name
        self.parts = list(parts.values())
        self.part_names = list(parts)
        self.has_chosen_pairs = flip_pairs != AUTO or any(part.has_chosen_pairs for part in self.parts)
        joints, positions = _find_common_joints(self.parts, same or {})
        self.skeleton = _merge_skeletons(joints, self.parts, positions, flip_pairs)
        self.first_rows = np.cumsum([0, *(len(part.records.ids) for part in self.parts)])
        self.records = _merge_records(parts, self.skeleton, positions, initial)
        paths = ImageFiles(Path(), (str(path) for part in self.parts for path in part.paths))
        # Parts without files, such as drawn figures, leave the whole without.
        self.paths = paths if len(paths) == len(self.records.ids) else ()
        # New images are in no part; they are read as those of the first one.
        self.pixels = self.parts[0].pixels
        self.new_reading = self.parts[0].new_reading
        self.decided = {"parts": {part_name: dict(part.decided) for part_name, part in parts.items()}}

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        number, part_row = self._locate(row)
        return self.parts[number].load(part_row)

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `ImageDataset.load_reduced`."""
        number, part_row = self._locate(row)
        return self.parts[number].load_reduced(part_row, most)

    def get_reading(self, row: int) -> Reading:
        """See `ImageDataset.get_reading`."""
        number, part_row = self._locate(row)
        return self.parts[number].get_reading(part_row)

    def get_pixel_settings(self) -> dict[str, Any]:
        """See `ImageDataset.get_pixel_settings`."""
        return {name: part.get_pixel_settings() for name, part in zip(self.part_names, self.parts, strict=True)}

    def get_file_name(self, row: int) -> str:
        """See `ImageDataset.get_file_name`; the folder is that of the part which the id begins with."""
        number, part_row = self._locate(row)
        return self.parts[number].get_file_name(part_row)

    def _locate(self, row: int) -> tuple[int, int]:
        """The number of the part that a row belongs to, and its row there."""
        number = int(np.searchsorted(self.first_rows, row, side="right")) - 1
        return number, row - int(self.first_rows[number])

    def check(self) -> None:
        """See `ImageDataset.check`."""
        for part in self.parts:
            part.check()


def _check_initial(initial: Sequence[str] | None, parts: Mapping[str, PoseDataset]) -> None:
    if initial is None:
        return
    if not isinstance(initial, list | tuple):
        raise ConfigError(
            f"dataset.initial={initial!r} is invalid; expected a list of parts, as in [{next(iter(parts))}]"
        )
    strangers = sorted(set(initial) - set(parts))
    if strangers:
        raise ConfigError(f"dataset.initial names {strangers}; the parts are {list(parts)}")


def _find_common_joints(parts: Sequence[PoseDataset], same: Mapping[str, str]) -> tuple[list[str], list[list[int]]]:
    """Names of the joints that all parts have, and their positions in each part."""
    names = []
    for part in parts:
        names.append([same.get(joint, joint) for joint in part.skeleton.joints])
    common = [joint for joint in names[0] if all(joint in other for other in names[1:])]
    if not common:
        raise ConfigError(f"the parts of the dataset have no joint in common: {names}")
    positions = []
    for part_names in names:
        positions.append([part_names.index(joint) for joint in common])
    return common, positions


def _merge_skeletons(
    joints: list[str], parts: Sequence[PoseDataset], positions: list[list[int]], flip_pairs: FlipPairs
) -> Skeleton:
    """Pairs of common joints that any part knows, each once."""

    def merge_pairs(kind: str) -> tuple[tuple[int, int], ...]:
        merged: dict[frozenset[int], tuple[int, int]] = {}
        for part, position in zip(parts, positions, strict=True):
            for a, b in getattr(part.skeleton, kind):
                if a in position and b in position:
                    pair = (position.index(a), position.index(b))
                    merged.setdefault(frozenset(pair), pair)
        return tuple(merged.values())

    if flip_pairs == AUTO:
        pairs = merge_pairs("flip_pairs")
        _check_one_partner(joints, pairs)
        unpaired = _find_unpaired(pairs, parts, positions)
    else:
        pairs, unpaired = resolve_flip_pairs(flip_pairs, joints)
    return Skeleton(tuple(joints), pairs, merge_pairs("edges"), merge_pairs("torso"), unpaired)


def _check_one_partner(joints: list[str], pairs: Pairs) -> None:
    """Raise ConfigError if two parts pair a joint with different ones."""
    seen: set[int] = set()
    for pair in pairs:
        for position in pair:
            if position in seen:
                raise ConfigError(
                    f"the parts of the dataset pair {joints[position]} with different joints; name all pairs in "
                    f"dataset.flip_pairs, as in {EXAMPLE}"
                )
            seen.add(position)


def _find_unpaired(pairs: Pairs, parts: Sequence[PoseDataset], positions: list[list[int]]) -> tuple[int, ...]:
    """Return the common joints without a partner that have one in a part, or lack it there."""
    sided = set()
    for part, position in zip(parts, positions, strict=True):
        in_part = set(part.skeleton.unpaired).union(*part.skeleton.flip_pairs)
        sided |= {position.index(joint) for joint in in_part if joint in position}
    return tuple(sorted(sided.difference(*pairs)))


def _merge_records(
    parts: Mapping[str, PoseDataset], skeleton: Skeleton, positions: list[list[int]], initial: Sequence[str] | None
) -> Records[PoseLabels]:
    tables = [part.records for part in parts.values()]
    joints = []
    visible = []
    may_start = []
    notes = []
    for name, table, position in zip(parts, tables, positions, strict=True):
        joints.append(table.labels.joints[:, position])
        visible.append(table.labels.visible[:, position])
        may_start.append(table.may_start & (initial is None or name in initial))
        notes += [f"{name}: {note}" for note in table.notes]
    labels = PoseLabels(skeleton, np.concatenate(joints), np.concatenate(visible), _merge_normalisers(tables))
    return Records(
        ids=Ids(_add_prefixes(parts, [table.ids for table in tables])),
        images=Ids(f"{name}/{image}" for name, part in parts.items() for image in part.records.images),
        split=np.concatenate([table.split for table in tables]),
        boxes=np.concatenate([table.boxes for table in tables]),
        box_source=" and ".join(dict.fromkeys(table.box_source for table in tables)),
        may_start=np.concatenate(may_start),
        labels=labels,
        group=Ids(f"{name}/{group}" for name, part in parts.items() for group in part.records.group or ()),
        ground_truth_boxes=any(table.ground_truth_boxes for table in tables),
        notes=tuple(notes),
    )


def _add_prefixes(parts: Mapping[str, PoseDataset], ids: Sequence[Ids]) -> Iterator[str]:
    """Ids that begin with the name of their part."""
    for name, part_ids in zip(parts, ids, strict=True):
        for record in part_ids:
            yield record if record.startswith(f"{name}/") else f"{name}/{record}"


def _merge_normalisers(tables: Sequence[Records[PoseLabels]]) -> dict[str, Normaliser]:
    """Normalisers that every part knows; torso and box follow from the merged joints and boxes."""
    merged = {}
    for name in tables[0].labels.normalisers:
        if not all(name in table.labels.normalisers for table in tables):
            continue
        normalisers = [table.labels.normalisers[name] for table in tables]
        merged[name] = Normaliser(
            np.concatenate([normaliser.values for normaliser in normalisers]),
            np.concatenate([normaliser.estimated for normaliser in normalisers]),
            "; ".join(dict.fromkeys(normaliser.source for normaliser in normalisers)),
        )
    return merged
