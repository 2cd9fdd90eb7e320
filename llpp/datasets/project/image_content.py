"""What one image file holds: its size, which way up it is, a digest, and a thumbnail."""

import hashlib
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.image_header import ImageHeader, parse_header, turn_upright
from llpp.datasets.images import MAX_BYTES, Reading, read_image, read_reduced
from llpp.datasets.pixel_format import PixelFormat
from llpp.datasets.project.index import THUMBNAIL
from llpp.errors import DataError
from llpp.files import read_bytes, replace_file

NO_DIGEST = 0  # of a file that could not be read at all
LEAST_SIDE = 2 * THUMBNAIL  # pixels of a reduced image, so that the thumbnail is still a mean
UPRIGHT = Reading("upright")
WITHOUT_ORIENTATION = (".bmp",)
LARGE = 1 << 25  # pixels: 0.1 GB when decoded, and there are as many threads as processors, and some more
_only_large_image = threading.Lock()
JPEG_ENDINGS = (".jpg", ".jpeg", ".jfif")
LONGEST_NAME = 240  # bytes of a copy's name: file systems allow 255, and while it is written it has some more
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


@dataclass(frozen=True, eq=False)
class ImageContent:
    """An image as people see it, upright."""

    digest: int  # 64 bits of the file's content; NO_DIGEST if it cannot be read
    width: int  # pixels; 0 if it is no image
    height: int
    orientation: int  # EXIF's, 1 to 8; 1 is as stored
    thumbnail: NDArray[np.uint8]  # (32, 32) grey
    problem: str = ""  # why it is no image


def read_content(path: Path, pixels: PixelFormat) -> ImageContent:
    """Read a file; one that is no image, or not readable, has a `problem`."""
    digest = NO_DIGEST
    try:
        data = read_bytes(path, MAX_BYTES)
        digest = compute_digest(data)
        header = parse_header(data)
        size = len(data) if header is None else header.width * header.height
        with _only_large_image if size > LARGE else nullcontext():
            return _decode_content(path, digest, header, pixels)
    except OSError as error:
        problem = f"image {path} cannot be read ({error.strerror})"
    except DataError as error:
        problem = str(error)
    return ImageContent(digest, 0, 0, 1, np.zeros((THUMBNAIL, THUMBNAIL), np.uint8), problem)


def compute_digest(data: bytes) -> int:
    """64 bits that depend on every byte, above 0."""
    digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
    return max(digest, 1)


def _decode_content(path: Path, digest: int, header: ImageHeader | None, pixels: PixelFormat) -> ImageContent:
    if header is None:
        image = read_image(path, UPRIGHT, pixels=pixels)
        height, width = image.shape[:2]
        orientation = _find_orientation(path, image, pixels)
    else:
        width, height = header.upright_size
        orientation = header.orientation
        image, _ = read_reduced(path, min(width, height) // LEAST_SIDE, UPRIGHT, pixels=pixels)
    return ImageContent(digest, width, height, orientation, make_thumbnail(image))


def _find_orientation(path: Path, upright: NDArray[np.uint8], pixels: PixelFormat) -> int:
    """The orientation of a file of a kind whose header is not understood: which one turns it as OpenCV does."""
    if path.suffix.lower() in WITHOUT_ORIENTATION:
        return 1
    stored = read_image(path, pixels=pixels)
    for orientation in range(1, 9):
        if np.array_equal(turn_upright(stored, orientation), upright):
            return orientation
    return 1


def make_thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of an image's parts: (H, W, 3) RGB → (32, 32) grey."""
    small = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def name_upright_copy(image: str) -> str:
    """The name of an image's upright copy: a JPEG stays one, all others become PNGs, which lose nothing."""
    folder, slash, name = image.rpartition("/")
    if len(name.encode()) > LONGEST_NAME:
        ending = name[name.rindex(".") :]
        name = hashlib.sha256(name.encode()).hexdigest() + ending
    is_jpeg = name.lower().endswith(JPEG_ENDINGS)
    return f"{folder}{slash}{name}{'' if is_jpeg else '.png'}"


def write_upright_copy(source: Path, orientation: int, target: Path) -> None:
    """Write an image as one that is stored upright, without an orientation, with as many bits as it has."""
    try:
        data = read_bytes(source, MAX_BYTES)
    except OSError as error:
        raise DataError(f"image {source} cannot be read ({error.strerror})") from error
    stored = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise DataError(f"image {source} cannot be decoded, so that no upright copy of it can be made")
    # Of other depths and numbers of channels than this is made for, but turned in the same way.
    upright = turn_upright(np.asarray(stored), orientation)
    if target.suffix.lower() in JPEG_ENDINGS:
        write_encoded(target, ".jpg", upright, QUALITY)
    else:
        write_encoded(target, ".png", upright, [])


def write_encoded(target: Path, ending: str, image: NDArray[np.uint8], parameters: list[int]) -> None:
    """Replace a file with an image in OpenCV's order of colours, in the format that has this ending."""
    done, encoded = cv2.imencode(ending, image, parameters)
    if not done:
        raise DataError(f"{target} cannot be written: OpenCV has not encoded an image of shape {image.shape}")
    data = encoded.tobytes()
    replace_file(target, lambda part: _write_bytes(part, data))


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
