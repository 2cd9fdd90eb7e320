"""Images in one sub-folder per class, or per split and class.

`root/cat/1.jpg root/dog/2.jpg …` is split by a hash of the names; `root/train/cat/1.jpg root/test/dog/2.jpg …`, with
`val` or without, comes as it is.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import SPLITS, ImageDataset
from llpp.datasets.classes import ClassLabels, build_records
from llpp.datasets.groups import assign_groups, describe_groups, suggest_groups
from llpp.datasets.images import ImageFiles, read_image, read_reduced
from llpp.datasets.pixel_format import choose_pixel_format
from llpp.datasets.splits import draw_splits
from llpp.errors import ConfigError, DataError
from llpp.ids import Ids

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class ImageFolder(ImageDataset[ClassLabels]):
    """Classes are the names of the sub-folders, in alphabetical order.

    Args:
        root: the folder.
        val: share (below 1) or number of the training images for validation, unless there is a folder val.
        test: the same for testing.
        train: use at most so many of the others.
        split_seed: chooses the images of val and test. Other images change none of them.
        group: what must not stand in two splits, by its path below `root`; see `groups.assign_groups`.
        white: see `pixel_format.choose_pixel_format`.
        background: the same.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str,
        val: float | None = 0.1,
        test: float | None = 0.2,
        train: int | None = None,
        split_seed: int = 0,
        group: str | None = None,
        white: int | str | None = None,
        background: Sequence[int] | str | None = None,
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(
                f"there is no folder {self.root}; put one with a sub-folder per class there, or set dataset.root=…"
            )
        folders = _list_class_folders(self.root)
        classes = tuple(sorted({folder.name for _, folder in folders}))
        files: list[tuple[str, Path, str]] = []  # split, path below the root, class
        for split, folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in ENDINGS:
                    _check_name(path, self.root)
                    files.append((split, path.relative_to(self.root), folder.name))
        if not files:
            raise DataError(
                f"{self.root} has no images in its sub-folders; expected files that end in {', '.join(ENDINGS)}, in "
                "one sub-folder per class"
            )
        published = {split for split, _, _ in files}
        wanted = {name: share for name, share in (("val", val), ("test", test)) if name not in published}
        candidates = [str(path) for split, path, _ in files if split == "train"]
        groups = _map_groups(files, group)
        chosen = draw_splits(candidates, wanted, train, split_seed, groups)
        kept = []
        for split, path, label in files:
            final = chosen.get(str(path), "") if split == "train" else split
            if final:
                kept.append((final, path, label))
        split_column = np.array([split for split, _, _ in kept], dtype=np.str_)
        names = [path.as_posix() for _, path, _ in kept]
        self.paths = ImageFiles(self.root, names)
        index = np.array([classes.index(label) for _, _, label in kept], dtype=np.int64)
        self.pixels, notes = choose_pixel_format(white, background, self.root, names)
        self.decided = self.pixels.as_settings()
        ids = Ids(names)
        group_ids = None
        if groups is not None:
            group_ids = Ids(groups[str(path)] for _, path, _ in kept)
            notes += describe_groups(str(group), group_ids, ids, split_column)
        else:
            # Numbers of images that are in no folder but their class's do not make them frames of a film.
            class_depth = len(folders[0][1].relative_to(self.root).parts)
            in_folders = all(len(path.parts) > class_depth + 1 for _, path, _ in kept)
            notes += suggest_groups(ids, split_column, films=in_folders)
        self.records = build_records(ids, split_column, classes, index, group_ids, notes)

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return read_image(self.paths[row], pixels=self.pixels)

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `ImageDataset.load_reduced`."""
        return read_reduced(self.paths[row], most, pixels=self.pixels)


def _check_name(path: Path, root: Path) -> None:
    """Raise DataError if a file has a name that no table of a run could hold."""
    try:
        str(path.relative_to(root)).encode()
    except UnicodeEncodeError as error:
        # The name as bytes: as text, it could not be printed either.
        name = os.fsencode(path.relative_to(root))
        raise DataError(
            f"an image below {root} is called {name!r}, which is not UTF-8; rename it, and its folder if that "
            "has such a name, too"
        ) from error


def _map_groups(files: Sequence[tuple[str, Path, str]], group: str | None) -> Mapping[str, str] | None:
    """Return the group of each image by its path, of (split, path, class) each; None where each is on its own."""
    found = assign_groups([path.as_posix() for _, path, _ in files], group)
    if found is None:
        return None
    groups = {}
    classes_by_group: dict[str, set[str]] = {}
    for (_, path, label), name in zip(files, found, strict=True):
        groups[str(path)] = name
        classes_by_group.setdefault(name, set()).add(label)
    classes = {label for _, _, label in files}
    is_one_each = all(len(labels) == 1 for labels in classes_by_group.values())
    if len(classes_by_group) == len(classes) and is_one_each:
        raise ConfigError(
            f"dataset.group={group} makes one group of each class, so that every class is missing from some split; "
            "choose a narrower one, or dataset.group=null"
        )
    return groups


def _list_class_folders(root: Path) -> list[tuple[str, Path]]:
    """(split, folder) of every class; all are train where the root has no folders of splits."""
    below = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = {path.name for path in below}
    if names and names <= {"val", "test"}:
        raise DataError(
            f"{root} has folders for {' and '.join(sorted(names))}, but none for train; put the training images into "
            f"{root / 'train'}, one sub-folder per class"
        )
    if "train" not in names:
        return [("train", path) for path in below]
    strangers = sorted(names - set(SPLITS))
    if strangers:
        raise DataError(
            f"{root} has a folder train and a folder {strangers[0]}; expected either folders of splits "
            f"({', '.join(SPLITS)}) or folders of classes: move one of them, or rename a class that is called train"
        )
    folders = []
    for split in below:
        for path in sorted(split.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                folders.append((split.name, path))
    return folders
