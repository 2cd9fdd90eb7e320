"""Skeletons drawn on pixels, in the colours of the body's sides.

Coordinates are (x, y), pixel centres at integers.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Skeleton
from llpp.datasets.joint_names import get_side

SIDE_COLOURS = {"left": (86, 180, 233), "right": (255, 140, 26), "middle": (240, 228, 66)}  # RGB
CASING_COLOUR = (20, 20, 20)
FRACTION_BITS = 4  # fractional bits of drawing coordinates
Colour = tuple[int, int, int]
Limb = tuple[int, int, Colour]
Points = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]


def get_joint_colours(skeleton: Skeleton) -> list[Colour]:
    """One per joint."""
    return [SIDE_COLOURS[get_side(name)] for name in skeleton.joints]


def colour_limbs(skeleton: Skeleton) -> list[Limb]:
    """The edges; those that join two sides are the middle's."""
    colours = get_joint_colours(skeleton)
    return [(a, b, colours[a] if colours[a] == colours[b] else SIDE_COLOURS["middle"]) for a, b in skeleton.edges]


def draw_limbs(tile: Any, points: Points, limbs: Sequence[Limb], thickness: int) -> None:
    """Lines between known joints, on a dark casing that keeps them visible on any ground."""
    known = [
        (_to_fixed_point(points[a]), _to_fixed_point(points[b]), c)
        for a, b, c in limbs
        if _is_drawable(points[a], points[b])
    ]
    for a, b, _ in known:
        cv2.line(tile, a, b, CASING_COLOUR, thickness + 2, cv2.LINE_AA, FRACTION_BITS)
    for a, b, colour in known:
        cv2.line(tile, a, b, colour, thickness, cv2.LINE_AA, FRACTION_BITS)


def draw_dot(tile: Any, point: Points, colour: Colour) -> None:
    """A disc of 9 pixels, if the joint is known."""
    _draw_discs(tile, point, ((5, CASING_COLOUR), (4, colour)))


def draw_ring(tile: Any, point: Points, colour: Colour) -> None:
    """A ring of 11 pixels with a dark middle, if the joint is known."""
    _draw_discs(tile, point, ((6, CASING_COLOUR), (5, colour), (3, CASING_COLOUR)))


def _draw_discs(tile: Any, point: Points, discs: Sequence[tuple[int, Colour]]) -> None:
    if _is_drawable(point):
        for radius, shade in discs:
            cv2.circle(tile, _to_fixed_point(point), radius << FRACTION_BITS, shade, -1, cv2.LINE_AA, FRACTION_BITS)


def _is_drawable(*points: Points) -> bool:
    """Known, and near enough for OpenCV's integers."""
    return all(bool((np.abs(point) < 1e5).all()) for point in points)


def _to_fixed_point(point: Points) -> tuple[int, int]:
    x, y = (point * (1 << FRACTION_BITS)).round().astype(int).tolist()
    return x, y
