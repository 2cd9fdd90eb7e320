"""Read image files, and explain in one sentence why one cannot be read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.image_header import HEADER_BYTES, ImageHeader, parse_header, turn_upright
from llpp.datasets.pixel_format import PixelFormat, find_unusual_type
from llpp.errors import DataError
from llpp.files import read_bytes, read_start
from llpp.ids import Ids

MAX_BYTES = 1 << 28  # of an image file
JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
FIRST_BYTES = 1 << 14  # of a file in which its size mostly stands
Orientation = Literal["auto", "file", "upright"]
STORED_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
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


@dataclass(frozen=True)
class Reading:
    """Which way up an image is read, and the size that its labels are made for.

    `file`: as stored. `upright`: turned as its EXIF orientation says. `auto`: the one of these two that has `size`;
    upright if both have it, because labelling tools show images so; as stored without a size.
    """

    orientation: Orientation = "file"
    size: tuple[int, int] | None = None  # width and height, pixels; None: any

    def is_turned(self, header: ImageHeader) -> bool:
        """Whether an image with this header is turned."""
        if header.orientation == 1:
            return False
        if self.orientation == "auto":
            return self.size == header.upright_size
        return self.orientation == "upright"


AS_STORED = Reading()


def read_image(
    path: Path, reading: Reading = AS_STORED, *, pixels: PixelFormat = DEFAULT_PIXELS
) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) RGB; as stored, without EXIF rotation, unless `reading` says otherwise.

    `pixels` says how those of more than 8 bits, and transparent ones, become RGB.

    Raises:
        DataError: the file is missing, empty, truncated, cannot be decoded or has another size than `reading` says.
    """
    image, _ = read_reduced(path, 1, reading, pixels=pixels)
    return image


def read_reduced(
    path: Path, most: int, reading: Reading = AS_STORED, *, pixels: PixelFormat = DEFAULT_PIXELS
) -> tuple[NDArray[np.uint8], int]:
    """Return the pixels as `read_image` does, with both sides divided by a factor of 1, 2, 4 or 8, and that factor.

    JPEGs are decoded to the means of blocks of pixels, which takes less time; the factor is the largest one up to
    `most`. Other files are returned whole, with factor 1.
    """
    data = _read_encoded(path)
    if reading == AS_STORED:
        return _decode_reduced(path, data, most, pixels)
    header = parse_header(data)
    if header is None:
        return _read_without_header(path, data, reading, pixels), 1
    check_size(path, header, reading)
    if not reading.is_turned(header):
        return _decode_reduced(path, data, most, pixels)
    # Blocks are counted from the stored image's corner: incomplete ones would shift a turned image.
    whole_blocks = 1
    for factor in REDUCED_FLAGS:
        if factor <= most and header.width % factor == 0 and header.height % factor == 0:
            whole_blocks = factor
    image, factor = _decode_reduced(path, data, whole_blocks, pixels)
    return turn_upright(image, header.orientation), factor


def _read_without_header(path: Path, data: bytes, reading: Reading, pixels: PixelFormat) -> NDArray[np.uint8]:
    """Decode a file of a kind whose header is not understood; OpenCV knows the orientation of some."""
    flags = STORED_FLAGS if reading.orientation == "file" else cv2.IMREAD_COLOR_RGB
    image = _decode(path, data, flags, pixels)
    if reading.orientation == "auto" and _get_size(image) != reading.size:
        image = _decode(path, data, STORED_FLAGS, pixels)
    width, height = _get_size(image)
    check_size(path, ImageHeader(width, height), reading)
    return image


def _get_size(image: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = image.shape[:2]
    return width, height


def check_size(path: Path, header: ImageHeader, reading: Reading) -> None:
    """Raise DataError if an image has another size than `reading` says, and not because of its orientation."""
    fitting = {header.size, header.upright_size}
    exchanged = header.size[::-1]
    if reading.orientation != "auto":
        # Some tools write width and height exchanged. Who has chosen an orientation has looked at the labels.
        fitting.add(exchanged)
    if reading.size is None or reading.size in fitting:
        return
    remedy = "put back the image that was labelled, or correct the annotation's width and height"
    if reading.size == exchanged:
        remedy = "if the labels fit the image as it is stored, set dataset.orientation=file"
    raise DataError(
        f"image {path} has {_format_size(header.size)} pixels and its annotation says {_format_size(reading.size)}, "
        f"so that labels would lie elsewhere; {remedy}"
    )


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


@dataclass(frozen=True)
class Measurement:
    """An image as `read_image` would give it."""

    width: int  # pixels
    height: int
    has_orientation: bool  # an EXIF orientation other than as stored
    is_turned: bool  # upright, not as stored


def measure_image(path: Path, reading: Reading = AS_STORED) -> Measurement:
    """Measure an image by the first bytes of its file; the file is decoded if its size cannot be found there.

    Raises:
        DataError: as `read_image`; but damage behind the header is not noticed.
    """
    header = _read_header(path)
    if header is None:
        width, height = _get_size(read_image(path, reading))
        return Measurement(width, height, has_orientation=False, is_turned=False)
    check_size(path, header, reading)
    is_turned = reading.is_turned(header)
    width, height = header.upright_size if is_turned else header.size
    return Measurement(width, height, header.orientation > 1, is_turned)


def _read_header(path: Path) -> ImageHeader | None:
    for count in (FIRST_BYTES, HEADER_BYTES):
        try:
            header = parse_header(read_start(path, count))
        except OSError:
            # Reading the whole file says why.
            return None
        if header is not None:
            return header
    return None


def _decode_reduced(path: Path, data: bytes, most: int, pixels: PixelFormat) -> tuple[NDArray[np.uint8], int]:
    """Decode as stored, reduced by the largest factor up to `most`; return that factor, too."""
    flags = STORED_FLAGS
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
