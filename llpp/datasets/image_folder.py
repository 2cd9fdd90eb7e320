"""Images in one sub-folder per class, or per split and class.

`root/cat/1.jpg root/dog/2.jpg …` is split by a hash of the names; `root/train/cat/1.jpg root/test/dog/2.jpg …`, with
`val` or without, comes as it is.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import SPLITS, ImageDataset
from llpp.datasets.classes import ClassLabels, build_records
from llpp.datasets.images import ImageFiles, read_image, read_reduced
from llpp.datasets.splits import draw_splits
from llpp.errors import DataError
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
    """

    name = "image_folder"

    def __init__(
        self,
        root: str,
        val: float | None = 0.1,
        test: float | None = 0.2,
        train: int | None = None,
        split_seed: int = 0,
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
                    files.append((split, path.relative_to(self.root), folder.name))
        if not files:
            raise DataError(
                f"{self.root} has no images in its sub-folders; expected files that end in {', '.join(ENDINGS)}, in "
                "one sub-folder per class"
            )
        published = {split for split, _, _ in files}
        wanted = {name: share for name, share in (("val", val), ("test", test)) if name not in published}
        candidates = (str(path) for split, path, _ in files if split == "train")
        chosen = draw_splits(candidates, wanted, train, split_seed)
        kept = []
        for split, path, label in files:
            final = chosen.get(str(path), "") if split == "train" else split
            if final:
                kept.append((final, path, label))
        split_column = np.array([split for split, _, _ in kept], dtype=np.str_)
        names = [path.as_posix() for _, path, _ in kept]
        self.paths = ImageFiles(self.root, names)
        index = np.array([classes.index(label) for _, _, label in kept], dtype=np.int64)
        self.records = build_records(Ids(names), split_column, classes, index)

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return read_image(self.paths[row])

    def load_reduced(self, row: int, most: int) -> tuple[NDArray[np.uint8], int]:
        """See `ImageDataset.load_reduced`."""
        return read_reduced(self.paths[row], most)


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
