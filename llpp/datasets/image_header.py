"""Sizes and EXIF orientations from the first bytes of image files, without decoding a pixel.

JPEG and PNG only; what OpenCV can decode besides them is decoded where its size is wanted. The orientation is one of
EXIF's eight: 1 as stored, 2 and 4 mirrored, 3 turned by half a turn, 5 to 8 with width and height exchanged.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 1 << 18  # a JPEG's size stands behind its metadata, which may have a thumbnail of 64 KiB
JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_START = b"Exif\0\0"
EXIF_MARKER = 0xE1
SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the starts of a frame, of any kind of JPEG
SCAN_MARKER = 0xDA
LONE_MARKERS = {0x01, *range(0xD0, 0xD9)}  # have no content
ORIENTATION_TAG = 0x0112
SHORT = 3  # EXIF's code for a number of 16 bits
AS_STORED = 1
MAX_ORIENTATION = 8
FIRST_EXCHANGED = 5  # from this orientation on, the upright image is as wide as the stored one is high


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its image."""

    width: int  # pixels, as stored
    height: int
    orientation: int = 1  # 1 to 8

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height when the orientation is applied."""
        if self.orientation >= FIRST_EXCHANGED:
            return self.height, self.width
        return self.width, self.height


def turn_upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a stored image (H, W, 3) as one of EXIF's orientations says: (H, W, 3), or (W, H, 3) from 5 on."""
    if orientation >= FIRST_EXCHANGED:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def parse_header(data: bytes) -> ImageHeader | None:
    """Return the header in the first bytes of a file; None for other kinds of file and for damaged ones."""
    try:
        if data.startswith(JPEG_START):
            return _parse_jpeg(data)
        if data.startswith(PNG_START):
            return _parse_png(data)
    except struct.error:
        # The data ends in the middle of a value.
        return None
    return None


def _parse_jpeg(data: bytes) -> ImageHeader | None:
    """Go from segment to segment until the one that has the size."""
    orientation = AS_STORED
    position = len(JPEG_START)
    while True:
        start, marker = struct.unpack_from(">BB", data, position)
        if start != 0xFF or marker == SCAN_MARKER:
            return None
        if marker == 0xFF:
            # A fill byte: the marker comes later.
            position += 1
            continue
        position += 2
        if marker in LONE_MARKERS:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker in SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return _make_header(width, height, orientation)
        content = data[position + 2 : position + length]
        if marker == EXIF_MARKER and content.startswith(EXIF_START) and orientation == AS_STORED:
            orientation = _parse_orientation(content[len(EXIF_START) :])
        position += max(length, 2)


def _parse_png(data: bytes) -> ImageHeader | None:
    """Read the size from the first chunk, and the orientation from a chunk eXIf before the pixels."""
    width, height = struct.unpack_from(">II", data, 16)
    orientation = AS_STORED
    position = len(PNG_START)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            break
        if kind == b"eXIf":
            orientation = _parse_orientation(data[position + 8 : position + 8 + length])
        position += length + 12
    return _make_header(width, height, orientation)


def _make_header(width: int, height: int, orientation: int) -> ImageHeader | None:
    if not width or not height:
        return None
    return ImageHeader(width, height, orientation)


def _parse_orientation(tiff: bytes) -> int:
    """Return the orientation in the first directory of EXIF's TIFF; 1 where there is none or it is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return AS_STORED
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for number in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * number)
            if tag == ORIENTATION_TAG and kind == SHORT and AS_STORED <= value <= MAX_ORIENTATION:
                return int(value)
    except struct.error:
        return AS_STORED
    return AS_STORED
