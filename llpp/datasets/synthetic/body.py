"""The body of a synthetic figure: how it bends and how it is painted.

A body is P = 19 points: the 14 joints of `LSP_SKELETON`, the tips of feet and hands, the middle of the head. Before
it is placed in an image its unit is the body height (standing, sole to head top), with y pointing down.
"""

from collections.abc import Mapping
from functools import cache

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

# Legs, arms, hip and neck: material, from, to, radius at either end in body heights. Within a limb the upper part
# is painted last, as a sleeve over a wrist.
CAPSULES = (
    *((material, f"{side}_{start}", f"{side}_{end}", wide, narrow)
      for limb in (
          (("shoes", "ankle", "toe", 0.030, 0.022), ("shins", "knee", "ankle", 0.040, 0.027),
           ("trousers", "hip", "knee", 0.056, 0.041)),
          (("skin", "wrist", "hand", 0.023, 0.021), ("forearms", "elbow", "wrist", 0.031, 0.022),
           ("shirt", "shoulder", "elbow", 0.041, 0.032)),
      )
      for side, _ in SIDES
      for material, start, end, wide, narrow in limb),
    ("trousers", "r_hip", "l_hip", 0.056, 0.056),
    ("skin", "neck", "face", 0.032, 0.030),
)  # fmt: skip
R_LEG, L_LEG, R_ARM, L_ARM = (slice(i, i + 3) for i in (0, 3, 6, 9))
HIPS, NECK = slice(12, 13), slice(13, 14)
MATERIALS = tuple(part[0] for part in CAPSULES)
CAPSULE_STARTS = np.array([INDEX[part[1]] for part in CAPSULES])
CAPSULE_ENDS = np.array([INDEX[part[2]] for part in CAPSULES])
RADII = np.array([part[3:] for part in CAPSULES])
ARM_CHAIN = (("shoulder", 0.170, "elbow"), ("elbow", 0.150, "wrist"), ("wrist", 0.045, "hand"))
LEG_CHAIN = (("hip", 0.235, "knee"), ("knee", 0.235, "ankle"), ("foot", 0.055, "toe"))

CHIN, HEAD_TOP, HEAD_WIDTH = 0.035, 0.195, 0.062  # distances from the neck joint, and the half width
CAP_FRACTIONS = np.linspace(0, 1, 8)  # of a round end
LIGHT = np.array([-0.6, -0.8])  # towards the light, in the image
OUTLINE = 0.008  # body heights
SKIN = ((250, 216, 190), (236, 188, 150), (205, 150, 110), (160, 105, 70), (110, 72, 50), (78, 52, 40))
HAIR = ((35, 28, 26), (70, 45, 30), (120, 80, 45), (190, 150, 90), (130, 55, 35), (140, 140, 140))


def sample_pose(rng: np.random.Generator, spread: float, shortening: float, hard: bool) -> Array:
    """Points (P, 2) of an upright random body in body heights, hips at the origin.

    `spread` in 0..1 scales how far limbs stray from their rest; limbs shrink by up to `shortening` of their length,
    as they do when they point at the viewer.
    """

    def sample_angle(name: str) -> float:
        centre, half = (HARD_ANGLES if hard else EASY_ANGLES)[name]
        return float(np.deg2rad(centre + half * spread * rng.uniform(-1, 1)))

    def sample_length(full: float) -> float:
        return full * rng.uniform(0.97, 1.03) * (1 - shortening * rng.uniform())

    points = np.zeros((len(INDEX), 2))
    spine = sample_angle("bend")
    up = np.array([np.sin(spine), -np.cos(spine)])
    points[INDEX["neck"]] = sample_length(0.30) * up
    tilt = spine + sample_angle("head")
    along = np.array([np.sin(tilt), -np.cos(tilt)])
    points[INDEX["head_top"]] = points[INDEX["neck"]] + HEAD_TOP * along
    points[INDEX["face"]] = points[INDEX["neck"]] + (CHIN + HEAD_TOP) / 2 * along
    for root, centre, half_width, slope, chain in (
        (
            "shoulder",
            points[INDEX["neck"]] - 0.035 * up,
            sample_length(0.100),
            spine + sample_angle("shoulders"),
            ARM_CHAIN,
        ),
        ("hip", np.zeros(2), sample_length(0.058), sample_angle("hips"), LEG_CHAIN),
    ):
        for side, sign in SIDES:
            at = centre + sign * half_width * np.array([np.cos(slope), np.sin(slope)])
            points[INDEX[f"{side}_{root}"]] = at
            heading = -sign * spine if root == "shoulder" else 0.0
            for joint, full, end in chain:
                heading += sample_angle(joint)
                at = at + sample_length(full) * np.array([sign * np.sin(heading), np.cos(heading)])
                points[INDEX[f"{side}_{end}"]] = at
    return points


def build_capsules(start: Array, end: Array, radii: Array) -> Array:
    """Outlines (N, 16, 2) of N tapered limbs with round ends: (N, 2), (N, 2), (N, 2) → convex polygons."""
    along = end - start
    reach = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    heading = np.arctan2(along[:, 1], along[:, 0])[:, None]
    side = np.arccos(np.clip((radii[:, 0] - radii[:, 1]) / reach, -0.95, 0.95))[:, None]
    angles = np.concatenate(
        [heading + side * (2 * CAP_FRACTIONS - 1), heading + side + (2 * np.pi - 2 * side) * CAP_FRACTIONS], axis=1
    )
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
    """Outline (corners, 2) of a superellipse: power 2 is an ellipse, large powers are nearly rectangles."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(
        centre + (_build_unit_superellipse(power, corners) * half) @ np.array([[cos, sin], [-sin, cos]])
    )


@cache
def _build_rounding_matrix(corners: int) -> Array:
    """Chaikin's corner cutting, twice, as a matrix (4 corners, corners)."""
    matrix: Array = np.eye(corners)
    for _ in range(2):
        following = np.roll(matrix, -1, axis=0)
        pairs = np.stack([0.75 * matrix + 0.25 * following, 0.25 * matrix + 0.75 * following], axis=1)
        matrix = pairs.reshape(-1, corners)
    return matrix


def _build_torso_outline(points: Array, unit: float) -> Array:
    """Outline of the shirt from the shoulders to just above the hip joints."""
    shoulders = points[[INDEX["r_shoulder"], INDEX["l_shoulder"]]]
    hips = points[[INDEX["r_hip"], INDEX["l_hip"]]]
    out = shoulders[1] - shoulders[0]
    out = out / max(float(np.hypot(*out)), 1e-6) * unit * np.array([[-1.0], [1.0]])
    up = points[INDEX["neck"]] - hips.mean(axis=0)
    up = up / max(float(np.hypot(*up)), 1e-6) * unit
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
    """Centre (2,), half axes (2,) along and across, and the angle in radians of the head's ellipse."""
    along = points[INDEX["head_top"]] - points[INDEX["neck"]]
    half = np.array([(HEAD_TOP - CHIN) / 2, HEAD_WIDTH]) * unit
    return points[INDEX["face"]], half, float(np.arctan2(along[1], along[0]))


def measure_extent(points: Array, girth: float) -> tuple[Array, Array]:
    """Smallest and largest (2,) coordinates that the painted body reaches, in body heights like `points` (P, 2)."""
    limbs = build_capsules(points[CAPSULE_STARTS], points[CAPSULE_ENDS], RADII * girth).reshape(-1, 2)
    outer = np.concatenate([limbs, _build_torso_outline(points, girth)])
    skull = build_superellipse(*_locate_head(points, 1.0))
    low = np.minimum(outer.min(axis=0) - OUTLINE, skull.min(axis=0))
    return low, np.maximum(outer.max(axis=0) + OUTLINE, skull.max(axis=0))


def fill_polygon(canvas: NDArray[np.uint8], polygon: Array, colour: Array) -> None:
    """Fill a polygon (N, 2) in pixels of `canvas` (H, W, 3), smooth edges, sub-pixel corners; colours saturate."""
    cv2.fillPoly(canvas, [(polygon * 16 + 0.5).astype(np.int32)], colour.tolist(), cv2.LINE_AA, 4)


def draw_stroke(canvas: NDArray[np.uint8], path: Array, radii: Array, rim: float, colour: Array) -> None:
    """Paint limbs along a path (N + 1, 2) with radii (N, 2) and a dark rim, all in pixels."""
    inner, outer = build_capsules(path[:-1], path[1:], radii), build_capsules(path[:-1], path[1:], radii + rim)
    for edge, flat in zip(outer, inner, strict=True):
        fill_polygon(canvas, edge, 0.35 * colour)
        fill_polygon(canvas, flat, colour)


def draw_body(canvas: NDArray[np.uint8], points: Array, unit: float, girth: float, colours: Colours) -> None:
    """Paint a body on `canvas`: points (P, 2) in its pixels, `unit` pixels per body height."""
    start, end, radii = points[CAPSULE_STARTS], points[CAPSULE_ENDS], RADII * girth * unit
    lit = 0.35 * radii[:, :1] * LIGHT
    starts, ends = np.concatenate([start, start, start + lit]), np.concatenate([end, end, end + lit])
    polygons = build_capsules(starts, ends, np.concatenate([radii + OUTLINE * unit, radii, 0.5 * radii]))
    # Converted at once, not limb by limb in `fill`: a tenth of the time of an image.
    edges, flats, lights = (polygons * 16 + 0.5).astype(np.int32).reshape(3, len(CAPSULES), -1, 2)
    base = np.array([colours[material] for material in MATERIALS])
    dark, plain, bright = (0.35 * base).tolist(), base.tolist(), (1.15 * base + 6).tolist()

    def draw_limb(parts: slice, outlined: bool = True) -> None:
        if outlined:
            for edge, colour in zip(edges[parts], dark[parts], strict=True):
                cv2.fillConvexPoly(canvas, edge, colour, cv2.LINE_AA, 4)
        for flat, light, colour, shine in zip(flats[parts], lights[parts], plain[parts], bright[parts], strict=True):
            cv2.fillConvexPoly(canvas, flat, colour, cv2.LINE_AA, 4)
            cv2.fillConvexPoly(canvas, light, shine, cv2.LINE_AA, 4)

    draw_limb(R_LEG)
    draw_limb(L_LEG)
    draw_limb(HIPS, outlined=False)  # one piece with the thighs
    _draw_shirt(canvas, points, unit, girth, colours["shirt"])
    draw_limb(NECK)
    _draw_head(canvas, points, unit, colours)
    draw_limb(R_ARM)
    draw_limb(L_ARM)


def _draw_shirt(canvas: NDArray[np.uint8], points: Array, unit: float, girth: float, colour: Array) -> None:
    """The torso, with a pocket on the person's left: it tells the sides apart when the body is upside down."""
    torso = _build_torso_outline(points, unit * girth)
    middle = torso.mean(axis=0)
    away = torso - middle
    reach = np.sqrt((away**2).sum(axis=1, keepdims=True))
    fill_polygon(canvas, torso + away / reach * OUTLINE * unit, 0.35 * colour)
    fill_polygon(canvas, torso, colour)
    fill_polygon(canvas, middle + 0.6 * away + 0.015 * unit * LIGHT, 1.1 * colour + 4)
    corner = points[INDEX["r_shoulder"]]
    across, down = points[INDEX["l_shoulder"]] - corner, points[INDEX["r_hip"]] - corner
    square = np.array([[0.62, 0.20], [0.92, 0.20], [0.92, 0.42], [0.62, 0.42]])
    pale = 0.3 * colour + 0.7 * (245 if colour.mean() < 150 else 30)
    fill_polygon(canvas, corner + square[:, :1] * across + square[:, 1:] * down, pale)


def _draw_head(canvas: NDArray[np.uint8], points: Array, unit: float, colours: Colours) -> None:
    """Hair, parted on the person's left, and a face: the front of the body."""
    centre, half, angle = _locate_head(points, unit)
    skin, hair = colours["skin"], colours["hair"]
    up = np.array([np.cos(angle), np.sin(angle)]) * half[0]
    left = np.array([-np.sin(angle), np.cos(angle)]) * half[1]  # the person's: the image's right when upright

    def place_points(*along_across: tuple[float, float]) -> Array:
        return np.asarray(centre + np.array(along_across) @ np.stack([up, left]))

    fill_polygon(canvas, build_superellipse(centre, half, angle), hair)
    fill_polygon(canvas, build_superellipse(place_points((-0.2, 0.0))[0], np.array([0.8, 0.88]) * half, angle), skin)
    fringe = ((0.2, -0.92), (0.62, 0.45), (0.2, 0.92), (0.75, 0.7), (0.92, 0.0), (0.75, -0.7))
    fill_polygon(canvas, place_points(*fringe), hair)
    for eye in place_points((-0.08, -0.36), (-0.08, 0.36)):
        fill_polygon(canvas, build_superellipse(eye, np.array([0.010, 0.009]) * unit, angle, corners=8), 0.15 * skin)
    fill_polygon(canvas, place_points((-0.1, 0.0), (-0.4, 0.12), (-0.4, -0.12)), 0.75 * skin)
    fill_polygon(canvas, place_points((-0.58, -0.3), (-0.58, 0.3), (-0.7, 0.12), (-0.7, -0.12)), 0.5 * skin)
