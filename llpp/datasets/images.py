"""Image files → pixels, with a sentence for every way that can fail."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.errors import DataError
from llpp.files import read_bytes

MOST_BYTES = 1 << 28  # of an image file


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) RGB as stored, without EXIF rotation, which published annotations do not know of.

    Raises DataError on a missing, empty, truncated or undecodable file. Decoders fill the missing part of a
    truncated JPEG with grey and only print a warning, so its end is looked for first.
    """
    try:
        data = read_bytes(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"image {path} is missing") from error
    except OSError as error:
        raise DataError(f"image {path} cannot be read ({error.strerror})") from error
    if not data:
        raise DataError(f"image {path} is empty")
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-1024:]:
        raise DataError(f"image {path} is truncated: the JPEG has no end")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        if "MAX_IMAGE_PIXELS" in str(error.err):
            raise DataError(
                f"image {path} claims to have more pixels than are decoded; if it really has, set the environment "
                "variable OPENCV_IO_MAX_IMAGE_PIXELS to a larger number"
            ) from error
        raise DataError(f"image {path} cannot be decoded ({error.err})") from error
    if image is None:
        raise DataError(f"image {path} cannot be decoded: not a complete image file")
    return np.asarray(image, dtype=np.uint8)


def is_there(path: Path) -> bool:
    """Whether a file exists, readable or not."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, for example
        return False
