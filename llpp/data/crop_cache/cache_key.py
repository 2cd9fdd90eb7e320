"""What decides the pixels of a crop, as 16 bytes for each row, and the name of a cache, out of all of them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.data.person_crop import PersonCrop
from llpp.datasets.pose import PoseDataset

VERSION = 1  # to be raised when other pixels are cut from the same image


def compute_row_ids(dataset: PoseDataset, crop: PersonCrop, source: str) -> NDArray[np.uint8]:
    """(N, 16): equal for equal images, boxes and settings, in whatever dataset the rows stand.

    An image is known by its name, size and time of change, so it may lie elsewhere. Where a dataset has no files,
    `source` says what decides its pixels.
    """
    settings = [VERSION, cv2.__version__, crop.size, float(crop.padding), crop.margin]
    common = hashlib.blake2b(json.dumps([*settings, "" if dataset.paths else source]).encode(), digest_size=16)
    boxes = np.ascontiguousarray(dataset.records.boxes)
    found = np.empty((len(boxes), 16), dtype=np.uint8)
    for row, told in enumerate(_describe_images(dataset)):
        own = common.copy()
        own.update(told)
        own.update(boxes[row].tobytes())
        found[row] = np.frombuffer(own.digest(), np.uint8)
    return found


def _describe_images(dataset: PoseDataset) -> Iterator[bytes]:
    """What is known of each row's image without reading it."""
    if not dataset.paths:
        yield from (f"{name}\0".encode() for name in dataset.records.ids)
        return
    last, told = None, ""
    for path, name in zip(dataset.paths, dataset.records.images, strict=True):
        if path != last:  # persons of an image stand together
            last, told = path, _describe_file(path)
        yield f"{name}\0{told}\0".encode()


def _describe_file(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return f"{path.name}\0missing"
    return f"{path.name}\0{found.st_size}\0{found.st_mtime_ns}"


def compute_key(rows: NDArray[np.uint8]) -> str:
    """Name of the cache with these rows."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()[:20]
