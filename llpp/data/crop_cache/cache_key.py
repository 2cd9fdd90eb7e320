"""Row ids: what decides the pixels of a crop, in 16 bytes; and the name of a cache, from all of its row ids."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.data.person_crop import PersonCrop
from llpp.datasets.base import AnyDataset
from llpp.datasets.images import Reading
from llpp.datasets.pixel_format import AS_BEFORE

VERSION = 1  # raise it when the code cuts other pixels from the same image


def compute_row_ids(dataset: AnyDataset, crop: PersonCrop, source: str) -> NDArray[np.uint8]:
    """Return (N, 16): equal for equal images, boxes and settings, in any dataset and at any row.

    An image is identified by its name, size, modification time and orientation, so its folder may move. For a
    dataset without files, `source` stands for what decides its pixels.
    """
    if dataset.paths:
        source = ""
    settings: list[Any] = [VERSION, cv2.__version__, crop.size, float(crop.padding), crop.margin, source]
    pixel_settings = dataset.get_pixel_settings()
    # Caches of versions that knew one format only have no settings of it.
    if dataset.paths and pixel_settings != AS_BEFORE.as_settings():
        settings.append(pixel_settings)
    common = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
    boxes = np.ascontiguousarray(dataset.records.boxes)
    row_ids = np.empty((len(boxes), 16), dtype=np.uint8)
    for row, image in enumerate(_describe_images(dataset)):
        row_hash = common.copy()
        row_hash.update(image)
        row_hash.update(boxes[row].tobytes())
        row_ids[row] = np.frombuffer(row_hash.digest(), np.uint8)
    return row_ids


def _describe_images(dataset: AnyDataset) -> Iterator[bytes]:
    """Yield the identity of each row's image, without reading the image."""
    if not dataset.paths:
        for name in dataset.records.ids:
            yield f"{name}\0".encode()
        return
    # The persons of an image are in neighbouring rows, so its file is looked up once.
    last_path = None
    file = ""
    for row, (path, name) in enumerate(zip(dataset.paths, dataset.records.images, strict=True)):
        if path != last_path:
            last_path = path
            file = _describe_file(path)
        # Two annotation files may differ in the size of an image.
        reading = _describe_reading(dataset.get_reading(row))
        yield f"{name}\0{file}{reading}\0".encode()


def _describe_reading(reading: Reading) -> str:
    """Describe what decides which way up an image is read; nothing where it is read as it is stored."""
    if reading.orientation == "file":
        return ""
    return f"\0{reading.orientation} {reading.size}"


def _describe_file(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return f"{path.name}\0missing"
    return f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}"


def compute_key(rows: NDArray[np.uint8]) -> str:
    """Return the name of the cache whose rows have the ids `rows` (N, 16)."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()[:20]
