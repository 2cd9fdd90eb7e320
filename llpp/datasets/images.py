"""Image files → pixels, with a sentence for every way that can fail."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.errors import DataError
from llpp.files import read_bytes
from llpp.ids import Ids

MAX_BYTES = 1 << 28  # of an image file


REDUCED_FLAGS = {
    2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8
}  # fmt: skip


class ImageFiles(Sequence[Path]):
    """N files below a folder, whose paths are made when they are asked for: one takes 280 bytes, a name some 20."""

    __slots__ = ("folder", "names")

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder, self.names = folder, Ids(names)

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


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) RGB as stored, without EXIF rotation, which published annotations do not know of.

    Raises DataError on a missing, empty, truncated or undecodable file.
    """
    return read_reduced(path, 1)[0]


def read_reduced(path: Path, most: int) -> tuple[NDArray[np.uint8], int]:
    """The same with both sides divided by 1, 2, 4 or 8, by `most` at most; and by which.

    JPEGs can be decoded to means of blocks of pixels, in less time; other files come whole. Decoders fill the missing
    part of a truncated JPEG with grey and only print a warning, so its end is looked for first.
    """
    try:
        data = read_bytes(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"image {path} is missing") from error
    except OSError as error:
        raise DataError(f"image {path} cannot be read ({error.strerror})") from error
    if not data:
        raise DataError(f"image {path} is empty")
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-1024:]:
        raise DataError(f"image {path} is truncated: the JPEG has no end")
    flags, factor = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, 1
    if data.startswith(b"\xff\xd8"):
        factor = max((known for known in REDUCED_FLAGS if known <= most), default=1)
        flags |= REDUCED_FLAGS.get(factor, 0) & ~cv2.IMREAD_COLOR  # which would ask for BGR
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
    return np.asarray(image, dtype=np.uint8), factor


def is_file(path: Path) -> bool:
    """Whether a file exists, readable or not."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, for example
        return False
