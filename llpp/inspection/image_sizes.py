"""Sizes of a dataset's image files, from their first bytes, and what they say about its labels."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import AnyDataset
from llpp.datasets.images import Measurement, is_file, measure_image
from llpp.errors import DataError


@dataclass(frozen=True)
class ImageSizes:
    """What was found out about the files of N records."""

    sizes: NDArray[np.float32]  # (N, 2) width and height as the image is read; NaN where they are not known
    turned: int  # images that are read upright, not as stored
    ignored: int  # images whose EXIF orientation is ignored
    problems: list[str]  # why images cannot be used, a sentence each


def measure_images(dataset: AnyDataset) -> ImageSizes:
    """Measure every image file that exists, in threads."""
    # The first record of every image.
    codes = dataset.records.images.assign_codes()
    _, rows = np.unique(codes, return_index=True)

    def try_measuring(row: int) -> Measurement | str | None:
        path = dataset.paths[row]
        if not is_file(path):
            return None
        try:
            return measure_image(path, dataset.get_reading(row))
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(try_measuring, rows.tolist()))
    sizes = np.full((len(rows), 2), np.nan, dtype=np.float32)
    problems = []
    turned = 0
    ignored = 0
    for number, result in enumerate(found):
        if isinstance(result, str):
            problems.append(result)
        elif result is not None:
            sizes[number] = (result.width, result.height)
            turned += result.is_turned
            ignored += result.has_orientation and not result.is_turned
    return ImageSizes(sizes[codes], turned, ignored, problems)


def describe_orientations(measured: ImageSizes) -> list[str]:
    """Say how many images have an EXIF orientation, a line for each way in which it is read."""
    lines = []
    if measured.turned:
        lines.append(f"images turned upright by their EXIF orientation: {measured.turned:,}")
    if measured.ignored:
        lines.append(f"images with an EXIF orientation that are read as stored: {measured.ignored:,}")
    return lines
