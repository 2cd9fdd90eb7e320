"""From the forms that pixels have in files to 8-bit RGB: more than 8 bits, and transparency.

Only files that say that they have one of these are decoded here; all others stay as OpenCV decodes them.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.splits import order_by_hash
from llpp.errors import expect
from llpp.files import read_bytes, read_start

MAX_BYTES = 1 << 28  # of an image file
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = {b"II*\0": "<", b"MM\0*": ">"}
PORTABLE_STARTS = (b"P2", b"P3", b"P5", b"P6")  # portable grey and colour maps
AVIF_START = b"ftypavif"  # from the fifth byte on
PNG_TYPES_WITH_ALPHA = (b"\x04", b"\x06")  # grey and RGB
BITS_PER_SAMPLE = 258  # TIFF's tags
EXTRA_SAMPLES = 338
SHORT = 3  # TIFF's code for numbers of 16 bits
PREMULTIPLIED = 1  # TIFF's codes for alpha
UNASSOCIATED = 2
LOOKED_AT = 64  # files of a dataset that say what it has
DECODED = 16  # of these at most
FIRST_BYTES = 1 << 16  # of a file, in which it says what it has
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras use in files of 16
FULL_WHITE = (1 << 16) - 1
BLACK = (0, 0, 0)
AlphaKind = Literal["none", "unassociated", "premultiplied"]


@dataclass(frozen=True)
class PixelFormat:
    """How pixels of other forms become 8-bit RGB.

    `white` is the 16-bit value that becomes 255; larger ones do, too. Transparent pixels are laid over `background`.
    None means what older versions did: the upper 8 bits of 16, and the colours under transparency.
    """

    white: int | None = FULL_WHITE
    background: tuple[int, int, int] | None = BLACK

    def as_settings(self) -> dict[str, Any]:
        """The settings of a dataset that give this format."""
        return {
            "white": "high_byte" if self.white is None else self.white,
            "background": "ignore" if self.background is None else list(self.background),
        }

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        """Decode a file that has more than 8 bits or transparency to (H, W, 3); None for all others.

        Raises:
            cv2.error: it cannot be decoded.
        """
        if self == AS_BEFORE:
            return None
        if data[4:12] == AVIF_START:
            return _decode_avif(data)
        alpha = find_alpha(data)
        if not is_deep(data) and (alpha == "none" or self.background is None):
            return None
        image = _decode_unchanged(data)
        if image is None:
            return None
        colours = self._scale(image[..., :3])
        if image.shape[2] == 1:
            return np.repeat(colours, 3, axis=2)
        # OpenCV's order is blue, green, red.
        colours = np.ascontiguousarray(colours[..., ::-1])
        if image.shape[2] == 4 and alpha != "none" and self.background is not None:
            return lay_over(colours, image[..., 3], self.background, alpha == "premultiplied")
        return colours

    def _scale(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Values of 8 or 16 bits as 8 bits."""
        if values.dtype == np.uint8:
            return values
        scaled: NDArray[np.uint8] = make_scale(self.white)[values]
        return scaled


AS_BEFORE = PixelFormat(None, None)


def choose_pixel_format(
    white: int | str | None, background: Sequence[int] | str | None, folder: Path, names: Iterable[str]
) -> tuple[PixelFormat, list[str]]:
    """Return the format that a dataset's settings stand for, and notes about what it does to its images.

    Args:
        white: the value of 16-bit images that becomes 255; `high_byte`: their upper 8 bits are used, as older
            versions did; None: the largest one of 8, 10, 12, 14 or 16 bits, whichever hold those of the first images.
        background: (red, green, blue) below transparent pixels; `ignore`: the colours under the transparency are
            used, as older versions did; None: black, which is beyond the edges of images, too.
        folder: the images are below it; they may be missing.
        names: their paths there. Which come first is decided by a hash, so that it is the same for all who read them.

    Raises:
        ConfigError: a value is invalid.
    """
    is_white = white in (None, "high_byte") or (type(white) is int and 255 <= white <= FULL_WHITE)
    expect(is_white, "dataset.white", white, f"null, high_byte, or a value from 255 to {FULL_WHITE}")
    expect(_is_background(background), "dataset.background", background, "null, ignore, or a colour such as [0,0,0]")
    largest, transparent = _look_at_images(folder, order_by_hash(set(names), 0)[:LOOKED_AT])
    notes = []
    if white == "high_byte":
        chosen_white = None
        scale = "only the upper 8 bits are used (dataset.white=high_byte)"
    else:
        bits = next(depth for depth in DEPTHS if largest < 1 << depth)
        found = (1 << bits) - 1 if largest else FULL_WHITE
        chosen_white = found if white is None else int(white)
        scale = f"0 to {chosen_white:,} become 0 to 255, and larger values 255; dataset.white=… sets another limit"
    if largest:
        notes.append(f"there are 16-bit images: {scale}")
    if background == "ignore":
        chosen_background = None
        place = "their colours are used as if they were opaque (dataset.background=ignore)"
    else:
        chosen_background = BLACK
        if isinstance(background, list | tuple):
            red, green, blue = background
            chosen_background = (red, green, blue)
        place = f"they are laid over the colour {list(chosen_background)}; dataset.background=… sets another one"
    if transparent:
        notes.append(f"there are transparent images: {place}")
    return PixelFormat(chosen_white, chosen_background), notes


def _is_background(value: object) -> bool:
    if value is None or value == "ignore":
        return True
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(type(part) is int and 0 <= part <= 255 for part in value)


def _look_at_images(folder: Path, names: Sequence[str]) -> tuple[int, bool]:
    """Return the largest value of 16-bit images among some files, 0 without any, and whether one is transparent.

    Few images are decoded, and of common files only the beginning is read.
    """
    largest = 0
    transparent = False
    decoded = 0
    for name in names:
        try:
            data = read_start(folder / name, FIRST_BYTES)
            if data[:4] in TIFF_STARTS:
                # What the file says about itself may stand at its end.
                data = read_bytes(folder / name, MAX_BYTES)
            if decoded == DECODED or not (is_deep(data) or find_alpha(data) != "none"):
                continue
            image = _decode_unchanged(read_bytes(folder / name, MAX_BYTES))
        except (OSError, ValueError, cv2.error):
            # Whether it can be read is another question, asked before round 0.
            continue
        decoded += 1
        if image is None:
            continue
        if image.dtype == np.uint16:
            largest = max(largest, int(image[..., :3].max()))
        if image.shape[2] == 4:
            transparent = transparent or bool((image[..., 3] < np.iinfo(image.dtype).max).any())
    return largest, transparent


def _decode_unchanged(data: bytes) -> NDArray[Any] | None:
    """Decode to 8 or 16 bits and 1, 3 or 4 channels (H, W, C), in OpenCV's order; None if the file has others."""
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    if image.ndim == 2:
        image = image[..., None]
    return image if image.shape[2] in (1, 3, 4) else None


def find_unusual_type(data: bytes) -> str | None:
    """Return the type of a file's pixels, as NumPy calls it, if these have neither 8 nor 16 bits; None for others."""
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype in (np.uint8, np.uint16):
        return None
    return str(image.dtype)


def _decode_avif(data: bytes) -> NDArray[np.uint8] | None:
    """Decode to RGB: asked for that order, OpenCV 4.14 leaves red and blue exchanged in AVIF."""
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


@cache
def make_scale(white: int | None) -> NDArray[np.uint8]:
    """Return the 8-bit value of each 16-bit one (65536,)."""
    values = np.arange(1 << 16, dtype=np.int64)
    if white is None:
        return (values >> 8).astype(np.uint8)
    rounded = (values.clip(max=white) * 255 + white // 2) // white
    return rounded.astype(np.uint8)


def lay_over(
    colours: NDArray[np.uint8], alpha: NDArray[Any], background: tuple[int, int, int], premultiplied: bool
) -> NDArray[np.uint8]:
    """Lay pixels (H, W, 3) with opacity (H, W), of 8 or 16 bits, over a background: (H, W, 3).

    Of `premultiplied` pixels, the colours are already those times the opacity.
    """
    most = int(np.iinfo(alpha.dtype).max)
    opacity = alpha.astype(np.int64)[..., None]
    behind = np.array(background, dtype=np.int64) * (most - opacity)
    own = colours.astype(np.int64) * (most if premultiplied else opacity)
    return ((own + behind + most // 2) // most).clip(max=255).astype(np.uint8)


def is_deep(data: bytes) -> bool:
    """Whether a file says that it has more than 8 bits per value."""
    if data.startswith(PNG_START):
        return data[24:25] == b"\x10"
    if data[:4] in TIFF_STARTS:
        return _read_tiff_number(data, BITS_PER_SAMPLE) == 16
    if data[:2] in PORTABLE_STARTS:
        numbers = re.sub(rb"#[^\n]*", b"", data[2:512]).split()
        return len(numbers) > 2 and numbers[2].isdigit() and int(numbers[2]) > 255
    return False


def find_alpha(data: bytes) -> AlphaKind:
    """What a file says about transparency."""
    if data.startswith(PNG_START):
        has_alpha = data[25:26] in PNG_TYPES_WITH_ALPHA or _has_chunk_before_pixels(data, b"tRNS")
        return "unassociated" if has_alpha else "none"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "unassociated" if _has_webp_alpha(data) else "none"
    if data[:4] in TIFF_STARTS:
        kind = _read_tiff_number(data, EXTRA_SAMPLES)
        if kind not in (PREMULTIPLIED, UNASSOCIATED):
            return "none"
        # OpenCV multiplies the colours of 8 bits, whatever the file has.
        return "unassociated" if kind == UNASSOCIATED and is_deep(data) else "premultiplied"
    return "none"


def _has_chunk_before_pixels(data: bytes, wanted: bytes) -> bool:
    """Whether a PNG has a chunk of this kind before its pixels."""
    position = len(PNG_START)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (wanted, b"IDAT"):
            return bool(kind == wanted)
        position += length + 12
    return False


def _has_webp_alpha(data: bytes) -> bool:
    if data[12:16] == b"VP8X":
        return len(data) > 20 and bool(data[20] & 0x10)
    # Lossless: after a byte and twice 14 bits of size, one bit.
    return data[12:16] == b"VP8L" and len(data) > 24 and bool(data[24] & 0x10)


def _read_tiff_number(data: bytes, wanted: int) -> int | None:
    """Return the first of the 16-bit numbers that a TIFF's first image has for a tag; None if it has none."""
    order = TIFF_STARTS[data[:4]]
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for number in range(count):
            entry = directory + 2 + 12 * number
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
            if tag != wanted or kind != SHORT or values < 1:
                continue
            position = entry + 8
            if values > 2:
                # More than four bytes: the entry has their position instead.
                (position,) = struct.unpack_from(f"{order}I", data, entry + 8)
            (value,) = struct.unpack_from(f"{order}H", data, position)
            return int(value)
    except struct.error:
        # The file ends before; its decoder says so.
        return None
    return None
