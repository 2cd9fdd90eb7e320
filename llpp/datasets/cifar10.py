"""CIFAR-10 (Krizhevsky 2009) as published for Python: data_batch_1 … data_batch_5 and test_batch in one folder.

The batches are pickles, which can run anything when they are loaded. They are read here by a reader that knows
nothing but the arrays and texts that they consist of.
"""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import ImageDataset
from llpp.datasets.classes import ClassLabels, build_records
from llpp.datasets.splits import draw_splits
from llpp.errors import DataError, expect
from llpp.files import read_bytes
from llpp.ids import Ids

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
SIDE = 32  # pixels
MAX_BYTES = 1 << 26  # of a batch; the published ones have 31 MB
REMEDY = "unpack cifar-10-python.tar.gz there, or set dataset.root=…; see docs/datasets.md"
# What the published files are made of: NumPy arrays, and nothing that does anything.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and plain values only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it contains {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


class Cifar10(ImageDataset[ClassLabels]):
    """50,000 images to train with, 10,000 to test, 32 × 32 pixels, ten classes.

    Args:
        root: folder of the batches.
        val: number of training images for validation, drawn with `split_seed`.
        train: use at most so many of the others.
        test: use at most so many of the published test images, the first ones; None: all.
        split_seed: chooses the validation images.
    """

    name = "cifar10"

    def __init__(
        self, root: str, val: int = 1000, train: int | None = None, test: int | None = None, split_seed: int = 0
    ) -> None:
        is_valid = test is None or (type(test) is int and test >= 1)
        expect(is_valid, "dataset.test", test, "null, or 1 or more")
        folder = Path(root)
        images: list[NDArray[np.uint8]] = []
        labels: list[NDArray[np.int64]] = []
        names: list[str] = []
        for file in (*TRAIN_FILES, TEST_FILE):
            pixels, index = _read_batch(folder / file)
            if file == TEST_FILE and test is not None:
                pixels = pixels[:test]
                index = index[:test]
            images.append(pixels)
            labels.append(index)
            part = "test" if file == TEST_FILE else "train"
            start = 0 if part == "test" else len(names)
            names += [f"{part}-{start + number:05d}" for number in range(len(index))]
        chosen = draw_splits((name for name in names if name.startswith("train")), {"val": val}, train, split_seed)
        splits = ["test" if name.startswith("test") else chosen.get(name, "") for name in names]
        rows = np.array([row for row, split in enumerate(splits) if split], dtype=np.int64)
        self._images = np.concatenate(images)[rows]
        self.pixel_digest = hashlib.sha256(self._images.data).hexdigest()
        split = np.array(splits, dtype=np.str_)[rows]
        ids = Ids(f"cifar10/{names[row]}" for row in rows.tolist())
        self.records = build_records(ids, split, CLASSES, np.concatenate(labels)[rows])

    def load(self, row: int) -> NDArray[np.uint8]:
        """See `ImageDataset.load`."""
        planes = self._images[row].reshape(3, SIDE, SIDE)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (N, 3072), plane by plane, and classes (N,) of one file; DataError."""
    try:
        content = _ArrayUnpickler(io.BytesIO(read_bytes(path, MAX_BYTES)), encoding="bytes").load()
    except FileNotFoundError as error:
        raise DataError(f"CIFAR-10 has no {path.name} in {path.parent}; {REMEDY}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {REMEDY}") from error
    except Exception as error:  # a damaged pickle raises whatever its opcodes meet
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no batch of CIFAR-10 ({reason or type(error).__name__}); {REMEDY}") from error
    pixels = content.get(b"data") if isinstance(content, dict) else None
    labels = content.get(b"labels") if isinstance(content, dict) else None
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape[1:] != (3 * SIDE * SIDE,)
        or not isinstance(labels, list)
        or len(labels) != len(pixels)
    ):
        raise DataError(f"{path} is no batch of CIFAR-10: it has no images with labels; {REMEDY}")
    if not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels):
        raise DataError(f"{path} has labels that are no classes of CIFAR-10; {REMEDY}")
    return pixels, np.array(labels, dtype=np.int64)
