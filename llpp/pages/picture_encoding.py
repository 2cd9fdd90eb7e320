"""Pixels → pictures within a page, as large and as sharp as the page's size allows.

Coordinates are (x, y), pixel centres at integers.
"""

import base64
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Points = NDArray[np.floating[Any]]

MOST_PICTURES = 500  # on a page
PAGE_CHARACTERS = 9_600_000  # that a page may have, which is to stay below 10 MB
OVERHEAD = 1_600  # characters that numbers and words take per picture
JOINT_CHARACTERS = 90  # that a joint with its limb takes in one layer
MOST_CHARACTERS = 120_000  # of one picture, however few there are
LARGEST_SIDE = 640  # pixels
# Side and JPEG quality, the best first; the last one is taken even if it is too large.
QUALITIES = (
    (640, 88), (640, 80), (560, 80), (480, 80), (440, 78), (400, 76), (380, 74), (360, 72), (340, 70), (320, 68),
    (300, 66), (280, 64), (256, 62), (220, 58), (180, 54), (140, 48), (100, 40),
)  # fmt: skip
MARGIN = 1.25  # side of the square cut out / longer side of box and joints
LEAST_SIDE = 8.0  # image pixels of that square, however small the box


@dataclass(frozen=True)
class EncodedImage:
    """A picture as a page holds it."""

    width: int  # of the pixels that joints refer to
    height: int
    data: str  # JPEG in base64; its own size may be smaller


def share_budget(count: int, taken: int = 0) -> int:
    """Return how many characters each of `count` pictures and its joints may take of a page.

    Other things on the page take `taken`.
    """
    share = (PAGE_CHARACTERS - taken) // max(count, 1) - OVERHEAD
    return min(max(share, 0), MOST_CHARACTERS)


def encode_image(pixels: Pixels, most_characters: int, layers: Mapping[str, Points] | None = None) -> EncodedImage:
    """Encode RGB pixels (H, W, 3) with the best of QUALITIES that fits into `most_characters` with its joints.

    Each of `layers` has (K, 2) joints, which the page holds as text.
    """
    joints = sum(len(points) for points in (layers or {}).values())
    room = most_characters - JOINT_CHARACTERS * joints

    def encode(choice: int) -> str:
        side, quality = QUALITIES[choice]
        return _encode_jpeg(_shrink(pixels, side), quality)

    # Sizes fall from choice to choice, so that a few trials find the first one that fits.
    choices = range(len(QUALITIES) - 1)
    best = bisect_left(choices, True, key=lambda choice: len(encode(choice)) <= room)
    height, width = pixels.shape[:2]
    return EncodedImage(width, height, encode(best))


def cut_out(
    pixels: Pixels, box: Points, layers: Mapping[str, Points], around: Points | None = None
) -> tuple[Pixels, dict[str, NDArray[np.float64]]]:
    """Cut a person out of an image: a square around its box, as far as the image reaches, at most LARGEST_SIDE large.

    Args:
        pixels: (H, W, 3) RGB.
        box: (4,) x, y, width, height in image pixels; NaN: the whole image is taken.
        layers: name → (K, 2) joints in image pixels, NaN where absent.
        around: (K, 2) joints that are to be in the picture, NaN where absent.

    Returns:
        The pixels of the picture, and the joints in its pixels.
    """
    left, top, right, bottom = _find_window(pixels.shape[:2], box, around)
    window = pixels[top:bottom, left:right]
    picture = _shrink(window, LARGEST_SIDE)
    scale = np.array([picture.shape[1] / (right - left), picture.shape[0] / (bottom - top)])
    moved = {}
    for name, points in layers.items():
        # An edge of a pixel is half a pixel before its centre.
        moved[name] = (points.astype(np.float64) - (left, top) + 0.5) * scale - 0.5
    return picture, moved


def _find_window(size: tuple[int, ...], box: Points, around: Points | None) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part to show, in whole pixels within the image."""
    height, width = size
    whole = (0, 0, width, height)
    if not np.isfinite(box).all():
        return whole
    corners = np.array([box[:2], box[:2] + box[2:]], dtype=np.float64)
    if around is not None:
        corners = np.concatenate([corners, around[np.isfinite(around).all(axis=1)]])
    low = corners.min(axis=0)
    high = corners.max(axis=0)
    side = max(float((high - low).max()) * MARGIN, LEAST_SIDE)
    centre = (low + high) / 2
    left, top = np.floor(np.maximum(centre - side / 2, 0)).astype(int).tolist()
    right, bottom = np.ceil(np.minimum(centre + side / 2, (width, height))).astype(int).tolist()
    if right - left < 1 or bottom - top < 1:
        # A box beyond the image.
        return whole
    return left, top, right, bottom


def _shrink(pixels: Pixels, side: int) -> Pixels:
    """Shrink pixels so that the longer side has at most `side`; smaller ones stay as they are."""
    height, width = pixels.shape[:2]
    if max(height, width) <= side:
        return pixels
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _encode_jpeg(pixels: Pixels, quality: int) -> str:
    """Return RGB pixels as JPEG in base64."""
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return base64.b64encode(content.tobytes()).decode()
