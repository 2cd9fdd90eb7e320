"""Drawn human figures of known difficulty: a dataset that needs no download.

Easy figures stand or walk upright in front of a calm background. Hard ones lean, bend and shrink in any way, in front
of limb-like clutter and behind occluders. Everything about a figure is a function of (seed, group, number in the
group); the order of the random draws is part of the dataset.
"""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.base import Records
from llpp.datasets.pose import LSP_JOINTS, LSP_SKELETON, PoseDataset, PoseLabels, compute_joint_boxes
from llpp.datasets.synthetic import body
from llpp.datasets.synthetic.backdrop import Appearance, draw_backdrop
from llpp.errors import ConfigError, expect
from llpp.ids import Ids

GROUPS = {"initial": "train", "pool": "train", "val": "val", "test": "test"}  # group → split
BOXES = ("annotation", "joints", "image")
MIN_SIZE = 48  # pixels: hands vanish in smaller images
MAX_SIZE = 256  # pixels: the drawing has no more detail to show
OVERSAMPLING = 2
# Random streams of a figure. 0 is no stream: NumPy cannot distinguish it from a key without it.
POSE_STREAM = 1
BACKDROP_STREAM = 2
GOLDEN_RATIO = 0.6180339887498949  # the fractional part
OCCLUDABLE_JOINTS = (
    "r_elbow", "r_wrist", "l_elbow", "l_wrist", "r_knee", "r_ankle", "l_knee", "l_ankle",
)  # fmt: skip


@dataclass(frozen=True)
class Occluder:
    """A superellipse in front of the figure; lengths as shares of the image side."""

    centre: body.Array  # (2,)
    half: body.Array  # (2,) half axes
    angle: float  # radians
    power: float
    colour: body.Array  # RGB

    def contains(self, points: body.Array) -> NDArray[np.bool_]:
        """Check which points are inside: (N, 2) → (N,)."""
        cos = np.cos(self.angle)
        sin = np.sin(self.angle)
        rotation = np.array([[cos, -sin], [sin, cos]])
        local = (points - self.centre) @ rotation / self.half
        return np.asarray((np.abs(local) ** self.power).sum(axis=1) <= 1)


@dataclass(frozen=True)
class Figure:
    """One person and its surroundings; lengths as shares of the image side, colours as RGB."""

    points: body.Array  # (P, 2)
    unit: float  # body height
    box: body.Array  # (4,) of the painted body: smallest x, y, width, height
    difficulty: float
    girth: float  # factor on every thickness
    colours: body.Colours
    occluders: tuple[Occluder, ...]
    key: tuple[int, int, int]  # dataset seed, number of the group, number in the group

    @property
    def appearance(self) -> Appearance:
        """What the background adopts from the figure."""
        return Appearance(self.difficulty, self.unit, self.colours)


class SyntheticFigures(PoseDataset):
    """Figures in four groups; `hard_*` is each one's share of hard figures, `initial` + `pool` the training split."""

    name = "synthetic"
    skeleton = LSP_SKELETON

    def __init__(
        self,
        *,
        initial: int,
        pool: int,
        val: int,
        test: int,
        seed: int = 0,
        size: int = 96,
        hard_initial: float = 0.0,
        hard_pool: float = 0.3,
        hard_val: float = 0.3,
        hard_test: float = 0.3,
        box: str = "annotation",
    ) -> None:
        counts = {"initial": initial, "pool": pool, "val": val, "test": test}
        shares = {"initial": hard_initial, "pool": hard_pool, "val": hard_val, "test": hard_test}
        _check_settings(counts, shares, seed, size, box)
        self.size = size
        groups = [(counts[group], shares[group]) for group in GROUPS]
        self._figures, self._drawn = _build_figures(seed, size, *groups)
        self.records = _build_records(self._figures, size, box)

    def load(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels (size, size, 3) RGB of record `row`; they are drawn once and then kept."""
        if row not in self._drawn:
            self._drawn[row] = self._draw(self._figures[row])
        return self._drawn[row]

    def _draw(self, figure: Figure) -> NDArray[np.uint8]:
        side = self.size * OVERSAMPLING
        rng = np.random.default_rng([*figure.key, BACKDROP_STREAM])
        canvas = draw_backdrop(rng, figure.appearance, self.size, side)
        # Pixel centres are integers, so a share u of the image is at u * side - 0.5.
        body.draw_body(canvas, figure.points * side - 0.5, figure.unit * side, figure.girth, figure.colours)
        for occluder in figure.occluders:
            _draw_occluder(canvas, occluder, side)
        return cv2.resize(canvas, (self.size, self.size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _check_settings(counts: Mapping[str, int], shares: Mapping[str, float], seed: int, size: int, box: str) -> None:
    """Raise ConfigError about the first setting that is invalid."""
    for name, value in {**counts, "seed": seed, "size": size}.items():
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        expect(is_count, f"dataset.{name}", value, "a whole number, 0 or more")
    for group, share in shares.items():
        is_share = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1
        expect(is_share, f"dataset.hard_{group}", share, "a share from 0 to 1")
    expect(MIN_SIZE <= size <= MAX_SIZE, "dataset.size", size, f"an image side of {MIN_SIZE} to {MAX_SIZE} pixels")
    if box not in BOXES:
        raise ConfigError(f"dataset.box={box!r} is not known; use {', '.join(BOXES)}")


# The jobs of a sweep run one after the other in a process, and mostly want the same figures.
@lru_cache(maxsize=1)
def _build_figures(
    seed: int, size: int, *groups: tuple[int, float]
) -> tuple[list[Figure], dict[int, NDArray[np.uint8]]]:
    """Sample the figures of all groups (count, share of hard ones).

    Return them with an empty store for the images drawn of them; `size` only separates the stores of two sizes.
    """
    figures = []
    for group, (count, share) in enumerate(groups):
        for number, hard in enumerate(_choose_hard(seed, group, count, share)):
            figures.append(_sample_figure((seed, group, number), hard))
    return figures, {}


def _build_records(figures: list[Figure], size: int, box: str) -> Records[PoseLabels]:
    group_names = tuple(GROUPS)
    names = []
    splits = []
    is_initial = []
    point_rows = []
    box_rows = []
    difficulties = []
    for figure in figures:
        _, group_number, number = figure.key
        group = group_names[group_number]
        names.append(f"synthetic/{group}-{number:05d}")
        splits.append(GROUPS[group])
        is_initial.append(group == "initial")
        point_rows.append(figure.points)
        box_rows.append(figure.box)
        difficulties.append(figure.difficulty)
    ids = Ids(names)

    # Reshaped, because an array of no figures has a single dimension.
    points = np.array(point_rows).reshape(-1, len(body.INDEX), 2)
    points = points[:, : len(LSP_JOINTS)]
    hidden = np.zeros(points.shape[:2], dtype=bool)
    for row, figure in enumerate(figures):
        for occluder in figure.occluders:
            hidden[row] |= occluder.contains(points[row])
    joints = (points * size - 0.5).astype(np.float32)
    visible = np.where(hidden, 1, 2).astype(np.uint8)
    if box == "annotation":
        shares = np.array(box_rows).reshape(-1, 4)
        boxes = (shares * size - np.array([0.5, 0.5, 0.0, 0.0])).astype(np.float32)
    elif box == "joints":
        boxes = compute_joint_boxes(joints, visible)
    else:
        boxes = np.full((len(ids), 4), np.nan, dtype=np.float32)
    return Records(
        ids=ids,
        images=ids,
        split=np.array(splits, dtype=np.str_),
        labels=PoseLabels(LSP_SKELETON, joints, visible),
        boxes=boxes,
        box_source=box,
        may_start=np.array(is_initial, dtype=np.bool_),
        difficulty=np.array(difficulties, dtype=np.float32),
        ground_truth_boxes=box != "image",
    )


def _choose_hard(seed: int, group: int, count: int, share: float) -> list[bool]:
    """Choose which figures of a group are hard."""
    # Golden-ratio steps spread any share evenly: every prefix holds about that share and none depends on `count`.
    start = np.random.default_rng([seed, group]).uniform()
    return [(start + number * GOLDEN_RATIO) % 1 < share for number in range(count)]


def _sample_figure(key: tuple[int, int, int], hard: bool) -> Figure:
    rng = np.random.default_rng([*key, POSE_STREAM])
    if hard:
        difficulty = rng.uniform(0.6, 1.0)
        spread = difficulty
        shortening = 0.4 * difficulty
        largest_lean = 180 * difficulty  # degrees
        least_share = 0.45  # of it
        camouflage = difficulty
    else:
        difficulty = rng.uniform(0.0, 0.4)
        spread = 0.4 + 1.5 * difficulty
        shortening = 0.05
        largest_lean = 15 * spread
        least_share = 0.0
        camouflage = 0.0
    points = body.sample_pose(rng, spread, shortening, hard)
    lean = largest_lean * rng.uniform(least_share, 1)
    points = _rotate(points, lean * rng.choice([-1, 1]))
    girth = rng.uniform(0.92, 1.12)
    points, unit, box = _place_body(rng, points, girth)
    colours = _sample_palette(rng, camouflage)
    occluder_count = rng.integers(1, 4) if hard else 0
    occluders = tuple(_sample_occluder(rng, points, unit, colours["wall"]) for _ in range(occluder_count))
    return Figure(points, unit, box, difficulty, girth, colours, occluders, key)


def _rotate(points: body.Array, degrees: float) -> body.Array:
    """Rotate points (P, 2) around the origin."""
    angle = np.deg2rad(degrees)
    cos = np.cos(angle)
    sin = np.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))


def _place_body(rng: np.random.Generator, points: body.Array, girth: float) -> tuple[body.Array, float, body.Array]:
    """Return points (P, 2), body height and box (4,) of a body that fills 70–85 % of an image of side 1."""
    low, high = body.measure_extent(points, girth)
    # A curled-up body would become a giant; limit it.
    unit = min(rng.uniform(0.70, 0.85) / (high - low).max(), 1.05)
    slack = np.maximum((1 - unit * (high - low)) / 2 - 0.03, 0)
    shift = 0.5 + rng.uniform(-1, 1, 2) * np.minimum(slack, 0.07) - unit * (low + high) / 2
    box = np.concatenate([low * unit + shift, (high - low) * unit])
    return points * unit + shift, unit, box


def _convert_hsv(hue: float, saturation: float, value: float) -> body.Array:
    """Convert a colour to RGB in 0..255; hues repeat with period 1."""
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _sample_palette(rng: np.random.Generator, camouflage: float) -> dict[str, body.Array]:
    """Sample the RGB of wall, floor and the figure's materials.

    `camouflage` in 0..1 blends the figure into its background.
    """
    wall = _convert_hsv(rng.uniform(), rng.uniform(0.05, 0.25), rng.uniform(0.5, 0.9))
    floor = _convert_hsv(rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.35), rng.uniform(0.35, 0.75))
    hue = rng.uniform()
    skin = np.array(body.SKIN[rng.integers(len(body.SKIN))]) * rng.uniform(0.93, 1.02)
    hair = np.array(body.HAIR[rng.integers(len(body.HAIR))]) * rng.uniform(0.9, 1.1)
    shirt = _convert_hsv(hue, rng.uniform(0.5, 0.85), rng.uniform(0.55, 0.95))
    trousers = _convert_hsv(hue + rng.uniform(0.25, 0.75), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.5))
    colours = {"skin": skin, "hair": hair, "shirt": shirt, "trousers": trousers}
    colours["forearms"] = shirt if rng.uniform() < 0.4 else skin
    colours["shins"] = trousers if rng.uniform() < 0.7 else skin
    colours["shoes"] = np.full(3, rng.choice([40.0, 225.0]))
    weight = 0.45 * camouflage
    background = (wall + floor) / 2
    blended = {material: (1 - weight) * colour + weight * background for material, colour in colours.items()}
    return {"wall": wall, "floor": floor, **blended}


def _sample_occluder(rng: np.random.Generator, points: body.Array, unit: float, wall: body.Array) -> Occluder:
    """Sample an occluder of a limb, which rarely hides more of the body."""
    joint = OCCLUDABLE_JOINTS[rng.integers(len(OCCLUDABLE_JOINTS))]
    centre = points[body.INDEX[joint]] + unit * rng.uniform(-0.05, 0.05, 2)
    half = unit * np.array([rng.uniform(0.035, 0.08), rng.uniform(0.07, 0.20)])
    colour = 0.5 * wall + 0.5 * rng.uniform(30, 230, 3)
    angle = rng.uniform(0, np.pi)
    power = float(rng.choice([2.0, 8.0]))
    return Occluder(centre, half, angle, power, colour)


def _draw_occluder(canvas: NDArray[np.uint8], occluder: Occluder, side: int) -> None:
    centre = occluder.centre * side - 0.5
    # A dark shape first: the smaller one on top leaves its rim.
    for scale, shade in ((1.0, 0.5), (0.85, 1.0)):
        half = scale * side * occluder.half
        outline = body.build_superellipse(centre, half, occluder.angle, occluder.power, corners=40)
        body.fill_polygon(canvas, outline, shade * occluder.colour)
