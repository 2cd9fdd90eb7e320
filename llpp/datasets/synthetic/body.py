"""Bend and paint the body of a synthetic figure.

A body is P = 19 points: the 14 joints of `LSP_SKELETON`, the tips of feet and hands, the middle of the head. Before
it is placed in an image its unit is the body height (standing, sole to head top), with y pointing down.

The order of the random draws is part of the dataset: another order gives other figures.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.pose import LSP_JOINTS

Array = NDArray[np.float64]
Colours = Mapping[str, Array]  # material → RGB in 0..255

INDEX = {name: i for i, name in enumerate((*LSP_JOINTS, "r_toe", "l_toe", "r_hand", "l_hand", "face"))}
SIDES = (("r", -1.0), ("l", 1.0))  # the figure faces us: its right is at the image's left

# Angles in degrees as (centre, half range); a limb's angle counts from its parent, outward positive.
EASY_ANGLES = {
    "shoulder": (30, 22), "elbow": (-5, 30), "wrist": (0, 12), "hip": (9, 8), "knee": (-5, 7), "foot": (50, 12),
    "bend": (0, 5), "shoulders": (0, 3), "hips": (0, 3), "head": (0, 8),
}  # fmt: skip
HARD_ANGLES = {
    "shoulder": (80, 105), "elbow": (20, 120), "wrist": (0, 35), "hip": (35, 70), "knee": (-35, 85),
    "foot": (50, 35), "bend": (0, 30), "shoulders": (0, 15), "hips": (0, 20), "head": (0, 30),
}  # fmt: skip


class Capsule(NamedTuple):
    """A tapered limb with round ends; radii in body heights."""

    material: str
    start: str  # a point's name
    end: str
    start_radius: float
    end_radius: float


# Within a limb the upper part is painted last, as a sleeve over a wrist.
LEG = (
    Capsule("shoes", "ankle", "toe", 0.030, 0.022),
    Capsule("shins", "knee", "ankle", 0.040, 0.027),
    Capsule("trousers", "hip", "knee", 0.056, 0.041),
)
ARM = (
    Capsule("skin", "wrist", "hand", 0.023, 0.021),
    Capsule("forearms", "elbow", "wrist", 0.031, 0.022),
    Capsule("shirt", "shoulder", "elbow", 0.041, 0.032),
)


def _place_on_side(limb: tuple[Capsule, ...], side: str) -> list[Capsule]:
    """Return the limb of one side, "r" or "l"."""
    return [part._replace(start=f"{side}_{part.start}", end=f"{side}_{part.end}") for part in limb]


CAPSULES = (
    *_place_on_side(LEG, "r"),
    *_place_on_side(LEG, "l"),
    *_place_on_side(ARM, "r"),
    *_place_on_side(ARM, "l"),
    Capsule("trousers", "r_hip", "l_hip", 0.056, 0.056),
    Capsule("skin", "neck", "face", 0.032, 0.030),
)
R_LEG = slice(0, 3)  # positions in CAPSULES
L_LEG = slice(3, 6)
R_ARM = slice(6, 9)
L_ARM = slice(9, 12)
HIPS = slice(12, 13)
NECK = slice(13, 14)
MATERIALS = tuple(part.material for part in CAPSULES)
CAPSULE_STARTS = np.array([INDEX[part.start] for part in CAPSULES])
CAPSULE_ENDS = np.array([INDEX[part.end] for part in CAPSULES])
RADII = np.array([(part.start_radius, part.end_radius) for part in CAPSULES])
# Parts of a limb from its root: the angle that turns a part, its length in body heights, the point at its end.
LimbChain = tuple[tuple[str, float, str], ...]
ARM_CHAIN = (("shoulder", 0.170, "elbow"), ("elbow", 0.150, "wrist"), ("wrist", 0.045, "hand"))
LEG_CHAIN = (("hip", 0.235, "knee"), ("knee", 0.235, "ankle"), ("foot", 0.055, "toe"))

CHIN = 0.035  # distance from the neck joint, body heights
HEAD_TOP = 0.195  # the same
HEAD_WIDTH = 0.062  # half width, body heights
CAP_FRACTIONS = np.linspace(0, 1, 8)  # of a round end
LIGHT = np.array([-0.6, -0.8])  # towards the light, in the image
OUTLINE = 0.008  # body heights
RIM_SHADE = 0.35  # factor on the colour of a limb for its dark rim
SUBPIXEL_BITS = 4  # OpenCV draws corners in sixteenths of a pixel
SKIN = ((250, 216, 190), (236, 188, 150), (205, 150, 110), (160, 105, 70), (110, 72, 50), (78, 52, 40))
HAIR = ((35, 28, 26), (70, 45, 30), (120, 80, 45), (190, 150, 90), (130, 55, 35), (140, 140, 140))


def sample_pose(rng: np.random.Generator, spread: float, shortening: float, hard: bool) -> Array:
    """Sample the points (P, 2) of an upright random body in body heights, hips at the origin.

    `spread` in 0..1 scales how far limbs stray from their rest; limbs shrink by up to `shortening` of their length,
    as they do when they point at the viewer.
    """
    points = np.zeros((len(INDEX), 2))
    angles = HARD_ANGLES if hard else EASY_ANGLES

    def sample_angle(name: str) -> float:
        centre, half = angles[name]
        return float(np.deg2rad(centre + half * spread * rng.uniform(-1, 1)))

    def sample_length(full: float) -> float:
        variation = rng.uniform(0.97, 1.03)
        return full * variation * (1 - shortening * rng.uniform())

    def place_limbs(root: str, centre: Array, half_width: float, slope: float, turn: float, chain: LimbChain) -> None:
        """Place both limbs that hang from a line through `centre`, joint by joint from the root."""
        for side, sign in SIDES:
            point = centre + sign * half_width * np.array([np.cos(slope), np.sin(slope)])
            points[INDEX[f"{side}_{root}"]] = point
            heading = -sign * turn
            for joint, full_length, end in chain:
                heading += sample_angle(joint)
                direction = np.array([sign * np.sin(heading), np.cos(heading)])
                point = point + sample_length(full_length) * direction
                points[INDEX[f"{side}_{end}"]] = point

    spine = sample_angle("bend")
    up = np.array([np.sin(spine), -np.cos(spine)])
    neck = sample_length(0.30) * up
    tilt = spine + sample_angle("head")
    along_head = np.array([np.sin(tilt), -np.cos(tilt)])
    points[INDEX["neck"]] = neck
    points[INDEX["head_top"]] = neck + HEAD_TOP * along_head
    points[INDEX["face"]] = neck + (CHIN + HEAD_TOP) / 2 * along_head

    shoulder_centre = neck - 0.035 * up
    shoulder_width = sample_length(0.100)
    shoulder_slope = spine + sample_angle("shoulders")
    hip_width = sample_length(0.058)
    hip_slope = sample_angle("hips")
    # Arms turn with the spine, legs do not.
    place_limbs("shoulder", shoulder_centre, shoulder_width, shoulder_slope, spine, ARM_CHAIN)
    place_limbs("hip", np.zeros(2), hip_width, hip_slope, 0.0, LEG_CHAIN)
    return points


def build_capsules(start: Array, end: Array, radii: Array) -> Array:
    """Build the outlines of N tapered limbs with round ends: (N, 2), (N, 2), (N, 2) → convex polygons (N, 16, 2)."""
    along = end - start
    reach = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    heading = np.arctan2(along[:, 1], along[:, 0])[:, None]
    # Angle between the axis and the points where the straight sides touch the round ends.
    side = np.arccos(np.clip((radii[:, 0] - radii[:, 1]) / reach, -0.95, 0.95))[:, None]
    end_angles = heading + side * (2 * CAP_FRACTIONS - 1)
    start_angles = heading + side + (2 * np.pi - 2 * side) * CAP_FRACTIONS
    angles = np.concatenate([end_angles, start_angles], axis=1)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    polygons: Array = np.repeat(radii[:, ::-1], 8, axis=1)[..., None] * circle
    polygons[:, :8] += end[:, None]
    polygons[:, 8:] += start[:, None]
    return polygons


@cache
def _build_unit_superellipse(power: float, corners: int) -> Array:
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    return np.asarray(np.sign(circle) * np.abs(circle) ** (2 / power))


def build_superellipse(centre: Array, half: Array, angle: float, power: float = 2.0, corners: int = 24) -> Array:
    """Build the outline (corners, 2) of a superellipse: power 2 is an ellipse, large powers are nearly rectangles."""
    cos = np.cos(angle)
    sin = np.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]])
    outline = _build_unit_superellipse(power, corners) * half
    return np.asarray(centre + outline @ rotation)


@cache
def _build_rounding_matrix(corners: int) -> Array:
    """Build the matrix (4 corners, corners) that cuts the corners of a polygon twice (Chaikin)."""
    matrix: Array = np.eye(corners)
    for _ in range(2):
        following = np.roll(matrix, -1, axis=0)
        pairs = np.stack([0.75 * matrix + 0.25 * following, 0.25 * matrix + 0.75 * following], axis=1)
        matrix = pairs.reshape(-1, corners)
    return matrix


def _build_torso_outline(points: Array, unit: float) -> Array:
    """Build the outline (48, 2) of the shirt from the shoulders to just above the hip joints."""
    shoulders = points[[INDEX["r_shoulder"], INDEX["l_shoulder"]]]
    hips = points[[INDEX["r_hip"], INDEX["l_hip"]]]
    out = shoulders[1] - shoulders[0]
    out = out / max(float(np.hypot(*out)), 1e-6) * unit * np.array([[-1.0], [1.0]])
    up = points[INDEX["neck"]] - hips.mean(axis=0)
    up = up / max(float(np.hypot(*up)), 1e-6) * unit
    # From neck to hips, right and left: (6, 2, 2).
    rings = np.stack([
        points[INDEX["neck"]] + 0.035 * out + 0.012 * up,
        shoulders + 0.015 * out + 0.040 * up,
        shoulders + 0.048 * out,
        0.45 * shoulders + 0.55 * hips + 0.026 * out,
        hips + 0.050 * out,
        hips + 0.052 * out - 0.012 * up,
    ])  # fmt: skip
    return np.asarray(_build_rounding_matrix(12) @ np.concatenate([rings[:, 1], rings[::-1, 0]]))


def _locate_head(points: Array, unit: float) -> tuple[Array, Array, float]:
    """Return centre (2,), half axes (2,) along and across, and the angle in radians of the head's ellipse."""
    along = points[INDEX["head_top"]] - points[INDEX["neck"]]
    half = np.array([(HEAD_TOP - CHIN) / 2, HEAD_WIDTH]) * unit
    return points[INDEX["face"]], half, float(np.arctan2(along[1], along[0]))


def measure_extent(points: Array, girth: float) -> tuple[Array, Array]:
    """Return the smallest and largest (2,) coordinates of the painted body, in body heights like `points` (P, 2)."""
    limbs = build_capsules(points[CAPSULE_STARTS], points[CAPSULE_ENDS], RADII * girth).reshape(-1, 2)
    outer = np.concatenate([limbs, _build_torso_outline(points, girth)])
    skull = build_superellipse(*_locate_head(points, 1.0))
    # The head has no outline.
    low = np.minimum(outer.min(axis=0) - OUTLINE, skull.min(axis=0))
    high = np.maximum(outer.max(axis=0) + OUTLINE, skull.max(axis=0))
    return low, high


def fill_polygon(canvas: NDArray[np.uint8], polygon: Array, colour: Array) -> None:
    """Fill a polygon (N, 2) in pixels of `canvas` (H, W, 3), smooth edges, sub-pixel corners; colours saturate."""
    cv2.fillPoly(canvas, [_convert_to_fixed_point(polygon)], colour.tolist(), cv2.LINE_AA, SUBPIXEL_BITS)


def _convert_to_fixed_point(points: Array) -> NDArray[np.int32]:
    """Convert pixels to OpenCV's whole sixteenths of a pixel."""
    return (points * 16 + 0.5).astype(np.int32)


def draw_stroke(canvas: NDArray[np.uint8], path: Array, radii: Array, rim: float, colour: Array) -> None:
    """Paint limbs along a path (N + 1, 2) with radii (N, 2) and a dark rim, all in pixels."""
    inner = build_capsules(path[:-1], path[1:], radii)
    outer = build_capsules(path[:-1], path[1:], radii + rim)
    for edge, area in zip(outer, inner, strict=True):
        fill_polygon(canvas, edge, RIM_SHADE * colour)
        fill_polygon(canvas, area, colour)


def draw_body(canvas: NDArray[np.uint8], points: Array, unit: float, girth: float, colours: Colours) -> None:
    """Paint a body on `canvas`: points (P, 2) in its pixels, `unit` pixels per body height."""
    start = points[CAPSULE_STARTS]
    end = points[CAPSULE_ENDS]
    radii = RADII * girth * unit
    # Each limb is a dark rim, its area, and a bright strip that is half as wide and shifted towards the light.
    to_light = 0.35 * radii[:, :1] * LIGHT
    starts = np.concatenate([start, start, start + to_light])
    ends = np.concatenate([end, end, end + to_light])
    polygons = build_capsules(starts, ends, np.concatenate([radii + OUTLINE * unit, radii, 0.5 * radii]))
    # Converted all at once, not limb by limb in `draw_limb`: that saves a tenth of the time of an image.
    edges, areas, strips = _convert_to_fixed_point(polygons).reshape(3, len(CAPSULES), -1, 2)
    base = np.array([colours[material] for material in MATERIALS])
    edge_colours = (RIM_SHADE * base).tolist()
    area_colours = base.tolist()
    strip_colours = (1.15 * base + 6).tolist()

    def draw_limb(parts: slice, outlined: bool = True) -> None:
        # All rims of a limb come first, so that none crosses a joint.
        if outlined:
            for edge, colour in zip(edges[parts], edge_colours[parts], strict=True):
                cv2.fillConvexPoly(canvas, edge, colour, cv2.LINE_AA, SUBPIXEL_BITS)
        limb = zip(areas[parts], area_colours[parts], strips[parts], strip_colours[parts], strict=True)
        for area, area_colour, strip, strip_colour in limb:
            cv2.fillConvexPoly(canvas, area, area_colour, cv2.LINE_AA, SUBPIXEL_BITS)
            cv2.fillConvexPoly(canvas, strip, strip_colour, cv2.LINE_AA, SUBPIXEL_BITS)

    # From back to front.
    draw_limb(R_LEG)
    draw_limb(L_LEG)
    # The hips are one piece with the thighs.
    draw_limb(HIPS, outlined=False)
    _draw_shirt(canvas, points, unit, girth, colours["shirt"])
    draw_limb(NECK)
    _draw_head(canvas, points, unit, colours)
    draw_limb(R_ARM)
    draw_limb(L_ARM)


def _draw_shirt(canvas: NDArray[np.uint8], points: Array, unit: float, girth: float, colour: Array) -> None:
    """Paint the torso, with a pocket on the person's left that shows the sides of a body upside down."""
    torso = _build_torso_outline(points, unit * girth)
    middle = torso.mean(axis=0)
    away = torso - middle
    reach = np.sqrt((away**2).sum(axis=1, keepdims=True))
    fill_polygon(canvas, torso + away / reach * OUTLINE * unit, RIM_SHADE * colour)
    fill_polygon(canvas, torso, colour)
    fill_polygon(canvas, middle + 0.6 * away + 0.015 * unit * LIGHT, 1.1 * colour + 4)
    corner = points[INDEX["r_shoulder"]]
    across = points[INDEX["l_shoulder"]] - corner
    down = points[INDEX["r_hip"]] - corner
    square = np.array([[0.62, 0.20], [0.92, 0.20], [0.92, 0.42], [0.62, 0.42]])
    pocket = corner + square[:, :1] * across + square[:, 1:] * down
    # Bright on a dark shirt, dark on a bright one.
    contrast = 245 if colour.mean() < 150 else 30
    fill_polygon(canvas, pocket, 0.3 * colour + 0.7 * contrast)


def _draw_head(canvas: NDArray[np.uint8], points: Array, unit: float, colours: Colours) -> None:
    """Paint hair, parted on the person's left, and a face, which shows the front of the body."""
    centre, half, angle = _locate_head(points, unit)
    skin = colours["skin"]
    hair = colours["hair"]
    up = np.array([np.cos(angle), np.sin(angle)]) * half[0]
    # The person's left is the image's right when the head is upright.
    left = np.array([-np.sin(angle), np.cos(angle)]) * half[1]

    def place_points(*up_left: tuple[float, float]) -> Array:
        """Convert shares of the half axes from the head's centre to pixels, (N, 2)."""
        return np.asarray(centre + np.array(up_left) @ np.stack([up, left]))

    fill_polygon(canvas, build_superellipse(centre, half, angle), hair)
    face_centre = place_points((-0.2, 0.0))[0]
    fill_polygon(canvas, build_superellipse(face_centre, np.array([0.8, 0.88]) * half, angle), skin)
    fringe = place_points((0.2, -0.92), (0.62, 0.45), (0.2, 0.92), (0.75, 0.7), (0.92, 0.0), (0.75, -0.7))
    fill_polygon(canvas, fringe, hair)
    eye_half = np.array([0.010, 0.009]) * unit
    for eye in place_points((-0.08, -0.36), (-0.08, 0.36)):
        fill_polygon(canvas, build_superellipse(eye, eye_half, angle, corners=8), 0.15 * skin)
    nose = place_points((-0.1, 0.0), (-0.4, 0.12), (-0.4, -0.12))
    fill_polygon(canvas, nose, 0.75 * skin)
    mouth = place_points((-0.58, -0.3), (-0.58, 0.3), (-0.7, 0.12), (-0.7, -0.12))
    fill_polygon(canvas, mouth, 0.5 * skin)
