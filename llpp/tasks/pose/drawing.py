"""Skeletons drawn on pixels, in the colours of the body's sides.

Coordinates are (x, y), pixel centres at integers.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.joint_names import read_sides
from llpp.datasets.pose import Skeleton
from llpp.datasets.side_words import LEFT, MIDDLE, RIGHT
from llpp.pages import viewer as pages

SIDE_COLOURS = {LEFT: (86, 180, 233), RIGHT: (255, 140, 26), MIDDLE: (240, 228, 66)}  # RGB
CASING_COLOUR = (20, 20, 20)
TILE = 200  # pixels
MARGIN = 1.25  # side of the square shown / longer side of box and joints
BORDER_COLOUR = (96, 96, 96)  # outside the image
MIN_SIDE = 8.0  # image pixels of the square, however small the box
TRUTH_COLOUR = (255, 255, 255)
LEGEND_GREY = (150, 150, 150)
VISIBLE = 2  # code of a visible joint
FRACTION_BITS = 4  # fractional bits of drawing coordinates
Colour = tuple[int, int, int]
Limb = tuple[int, int, Colour]
Points = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]


def get_joint_colours(skeleton: Skeleton) -> list[Colour]:
    """One per joint: by its name, or by its place in a pair if no name of the pair has a side."""
    sides = list(read_sides(skeleton.joints).sides)
    for left, right in skeleton.flip_pairs:
        if sides[left] == sides[right] == MIDDLE:
            sides[left] = LEFT
            sides[right] = RIGHT
    return [SIDE_COLOURS[side] for side in sides]


def colour_limbs(skeleton: Skeleton) -> list[Limb]:
    """The edges; those that join two sides are the middle's."""
    colours = get_joint_colours(skeleton)
    return [(a, b, colours[a] if colours[a] == colours[b] else SIDE_COLOURS["middle"]) for a, b in skeleton.edges]


def make_picture_skeleton(skeleton: Skeleton) -> pages.Skeleton:
    """Return a skeleton as a page's viewer draws it."""
    colours = tuple(get_joint_colours(skeleton))
    return pages.Skeleton(skeleton.joints, skeleton.edges, colours, SIDE_COLOURS[MIDDLE])


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


def draw_joints(tile: Pixels, points: Points, visible: NDArray[np.uint8], skeleton: Skeleton) -> None:
    """Draw limbs and joints, (K, 2) pixels of the tile; occluded joints are rings."""
    draw_limbs(tile, points, colour_limbs(skeleton), 2)
    for point, code, colour in zip(points, visible, get_joint_colours(skeleton), strict=True):
        if code == VISIBLE:
            draw_dot(tile, point, colour)
        else:
            draw_ring(tile, point, colour)


def draw_person(image: Pixels, true: Points, predicted: Points, box: Points, skeleton: Skeleton) -> Pixels:
    """Draw a square cut-out with both poses.

    Args:
        image: (H, W, 3) RGB.
        true: (K, 2) image pixels, NaN where unlabelled; drawn thin and white.
        predicted: (K, 2) image pixels; drawn thick, in the colours of the body's sides.
        box: (4,) x, y, width, height; the whole image is shown where it is NaN.
        skeleton: names and limbs of the joints.

    Returns:
        (TILE, TILE, 3) RGB.
    """
    matrix = compute_tile_matrix(image.shape[:2], true, box)
    # A photograph that is shrunk without a blur would sparkle.
    blur = int(1 / matrix[0, 0])
    source = cv2.blur(image, (blur, blur)) if blur > 1 else image
    tile = cv2.warpAffine(source, matrix, (TILE, TILE), flags=cv2.INTER_CUBIC, borderValue=BORDER_COLOUR)
    limbs = colour_limbs(skeleton)
    true_limbs = [(start, end, TRUTH_COLOUR) for start, end, _ in limbs]
    predicted_points = _transform_points(predicted, matrix)
    # The thin true limbs come on top of the thick predicted ones, and the predicted joints on top of both.
    draw_limbs(tile, predicted_points, limbs, 4)
    draw_limbs(tile, _transform_points(true, matrix), true_limbs, 2)
    for point, colour in zip(predicted_points, get_joint_colours(skeleton), strict=True):
        draw_dot(tile, point, colour)
    return np.asarray(tile, dtype=np.uint8)


def compute_tile_matrix(size: tuple[int, ...], true: Points, box: Points) -> NDArray[np.float64]:
    """Compute the (2, 3) transform from image to tile pixels, for a square around the box and the labelled joints.

    Args:
        size: height and width of the image, which is shown whole where the box is NaN.
        true: (K, 2) image pixels, NaN where unlabelled.
        box: (4,) x, y, width, height.
    """
    if np.isfinite(box).all():
        labelled = true[np.isfinite(true).all(axis=1)]
        corners = np.concatenate([labelled, [box[:2], box[:2] + box[2:]]])
        low = corners.min(axis=0)
        high = corners.max(axis=0)
        side = max(float((high - low).max()) * MARGIN, MIN_SIDE)
    else:
        height, width = size
        low = np.array([-0.5, -0.5])
        high = np.array([width - 0.5, height - 0.5])
        side = float(max(width, height))
    scale = TILE / side
    # The left and upper edges of the square. An edge of a pixel is half a pixel before its centre.
    left, top = (low + high) / 2 - side / 2
    return np.array([[scale, 0, -scale * left - 0.5], [0, scale, -scale * top - 0.5]])


def _transform_points(points: Points, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transform (K, 2) points by a matrix that only scales and shifts."""
    # A matrix product would multiply a coordinate that is NaN by 0 and so spoil the other one.
    scales = matrix[[0, 1], [0, 1]]
    return points.astype(np.float64) * scales + matrix[:, 2]
