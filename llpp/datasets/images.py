"""Read image files, and explain in one sentence why one cannot be read."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pixel_format import PixelFormat, find_unusual_type
from llpp.errors import DataError
from llpp.files import read_bytes
from llpp.ids import Ids

MAX_BYTES = 1 << 28  # of an image file
JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
DEFAULT_PIXELS = PixelFormat()
REDUCED_FLAGS = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class ImageFiles(Sequence[Path]):
    """N files below a folder. A path takes 280 bytes, a name some 20, so paths are built only on access."""

    __slots__ = ("folder", "names")

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = Ids(names)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Path]:
        return map(self.folder.joinpath, self.names)

    @overload
    def __getitem__(self, row: int) -> Path: ...

    @overload
    def __getitem__(self, row: slice) -> "ImageFiles": ...

    def __getitem__(self, row: int | slice) -> "Path | ImageFiles":
        if isinstance(row, slice):
            return ImageFiles(self.folder, self.names[row])
        return self.folder / self.names[row]


def read_image(path: Path, *, pixels: PixelFormat = DEFAULT_PIXELS) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) RGB as stored, without EXIF rotation, which published annotations ignore too.

    `pixels` says how those of more than 8 bits, and transparent ones, become RGB.

    Raises:
        DataError: the file is missing, empty, truncated or cannot be decoded.
    """
    image, _ = read_reduced(path, 1, pixels=pixels)
    return image


def read_reduced(path: Path, most: int, *, pixels: PixelFormat = DEFAULT_PIXELS) -> tuple[NDArray[np.uint8], int]:
    """Return the pixels as `read_image` does, with both sides divided by a factor of 1, 2, 4 or 8, and that factor.

    JPEGs are decoded to the means of blocks of pixels, which takes less time; the factor is the largest one up to
    `most`. Other files are returned whole, with factor 1.
    """
    data = _read_encoded(path)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    factor = 1
    if data.startswith(JPEG_START):
        factor = max((known for known in REDUCED_FLAGS if known <= most), default=1)
        # The reduced flags contain IMREAD_COLOR, which would ask for BGR.
        flags |= REDUCED_FLAGS.get(factor, 0) & ~cv2.IMREAD_COLOR
    return _decode(path, data, flags, pixels), factor


def _decode(path: Path, data: bytes, flags: int, pixels: PixelFormat) -> NDArray[np.uint8]:
    """Decode with OpenCV's flags, or by `pixels` what these would get wrong."""
    try:
        converted = pixels.decode(data)
        if converted is not None:
            return converted
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        if "MAX_IMAGE_PIXELS" in str(error.err):
            raise DataError(
                f"image {path} claims to have more pixels than are decoded; if it really has, set the environment "
                "variable OPENCV_IO_MAX_IMAGE_PIXELS to a larger number"
            ) from error
        raise DataError(f"image {path} cannot be decoded ({error.err})") from error
    if image is None:
        unusual = find_unusual_type(data)
        if unusual is not None:
            raise DataError(f"image {path} has pixels of the type {unusual}; save it with 8 or 16 bits per value")
        raise DataError(f"image {path} cannot be decoded: not a complete image file")
    return np.asarray(image, dtype=np.uint8)


def _read_encoded(path: Path) -> bytes:
    """Return the content of an image file that is neither empty nor a truncated JPEG."""
    try:
        data = read_bytes(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"image {path} is missing") from error
    except OSError as error:
        raise DataError(f"image {path} cannot be read ({error.strerror})") from error
    if not data:
        raise DataError(f"image {path} is empty")
    # Decoders fill the missing part of a truncated JPEG with grey and only print a warning.
    if data.startswith(JPEG_START) and JPEG_END not in data[-1024:]:
        raise DataError(f"image {path} is truncated: the JPEG has no end")
    return data


def is_file(path: Path) -> bool:
    """Check whether a file exists, readable or not."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, for example
        return False
