"""Drawn human figures with a known difficulty: a data set that needs no download and whose hard images are known.

Easy figures stand or walk upright before a calm background. Hard ones lean, bend and shrink any way, before
limb-like clutter and behind occluders. Everything about a figure is a function of (seed, group, number in the group).
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
from llpp.errors import ConfigError
from llpp.ids import Ids

GROUPS = {"initial": "train", "pool": "train", "val": "val", "test": "test"}  # group → split
BOXES = ("annotation", "joints", "image")
MIN_SIZE, MAX_SIZE = 48, 256  # pixels: below, hands vanish; above, the drawing has nothing more to show
OVERSAMPLING = 2
POSE_STREAM, BACKDROP_STREAM = 1, 2  # random streams of a figure; not 0, which numpy cannot tell from a shorter key
OCCLUDABLE_JOINTS = (
    "r_elbow",
    "r_wrist",
    "l_elbow",
    "l_wrist",
    "r_knee",
    "r_ankle",
    "l_knee",
    "l_ankle",
)  # worth hiding


@dataclass(frozen=True)
class Occluder:
    """A superellipse before the figure; lengths as shares of the image side."""

    centre: body.Array  # (2,)
    half: body.Array  # (2,) half axes
    angle: float  # radians
    power: float
    colour: body.Array  # RGB

    def contains(self, points: body.Array) -> NDArray[np.bool_]:
        """Which of (N, 2) points lie inside: (N,)."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        local = (points - self.centre) @ np.array([[cos, -sin], [sin, cos]]) / self.half
        return np.asarray((np.abs(local) ** self.power).sum(axis=1) <= 1)


@dataclass(frozen=True)
class Figure:
    """One person and what it stands before; lengths as shares of the image side, colours as RGB."""

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
        """What the background takes up from the figure."""
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
        self._figures, self._drawn = _build_figures(seed, size, *((counts[g], shares[g]) for g in GROUPS))
        self.records = _build_records(self._figures, size, box)

    def load(self, row: int) -> NDArray[np.uint8]:
        """Pixels (size, size, 3) RGB of record `row`, drawn when first asked for, then kept."""
        if row not in self._drawn:
            self._drawn[row] = self._draw(self._figures[row])
        return self._drawn[row]

    def _draw(self, figure: Figure) -> NDArray[np.uint8]:
        side = self.size * OVERSAMPLING
        canvas = draw_backdrop(
            np.random.default_rng([*figure.key, BACKDROP_STREAM]), figure.appearance, self.size, side
        )
        # A share u of the image lies at u * side - 0.5 where pixel centres are integers.
        body.draw_body(canvas, figure.points * side - 0.5, figure.unit * side, figure.girth, figure.colours)
        for occluder in figure.occluders:
            _draw_occluder(canvas, occluder, side)
        return cv2.resize(canvas, (self.size, self.size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _check_settings(counts: Mapping[str, int], shares: Mapping[str, float], seed: int, size: int, box: str) -> None:
    """Raise a ConfigError about the first setting that cannot be drawn."""
    for name, value in {**counts, "seed": seed, "size": size}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"dataset.{name} is {value!r}; expected a whole number, 0 or more")
    for group, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigError(f"dataset.hard_{group} is {share!r}; expected a share from 0 to 1")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(f"dataset.size is {size}; expected an image side of {MIN_SIZE} to {MAX_SIZE} pixels")
    if box not in BOXES:
        raise ConfigError(f"dataset.box is {box!r}; expected one of {', '.join(BOXES)}")


@lru_cache(maxsize=1)  # the jobs of a sweep come one after the other in a process, and mostly want the same figures
def _build_figures(
    seed: int, size: int, *groups: tuple[int, float]
) -> tuple[list[Figure], dict[int, NDArray[np.uint8]]]:
    """All figures of some groups (how many, share of hard ones), and the pictures that have been drawn of them."""
    figures = [
        _sample_figure((seed, number, i), hard)
        for number, (count, share) in enumerate(groups)
        for i, hard in enumerate(_choose_hard(seed, number, count, share))
    ]
    return figures, {}


def _build_records(figures: list[Figure], size: int, box: str) -> Records[PoseLabels]:
    groups = [tuple(GROUPS)[f.key[1]] for f in figures]
    ids = Ids(f"synthetic/{group}-{f.key[2]:05d}" for group, f in zip(groups, figures, strict=True))
    points = np.array([f.points for f in figures]).reshape(-1, len(body.INDEX), 2)[:, : len(LSP_JOINTS)]
    hidden = np.zeros(points.shape[:2], dtype=bool)
    for row, figure in enumerate(figures):
        for occluder in figure.occluders:
            hidden[row] |= occluder.contains(points[row])
    joints = (points * size - 0.5).astype(np.float32)
    visible = np.where(hidden, 1, 2).astype(np.uint8)
    if box == "annotation":
        shares = np.array([f.box for f in figures]).reshape(-1, 4)
        boxes = (shares * size - np.array([0.5, 0.5, 0.0, 0.0])).astype(np.float32)
    elif box == "joints":
        boxes = compute_joint_boxes(joints, visible)
    else:
        boxes = np.full((len(ids), 4), np.nan, dtype=np.float32)
    return Records(
        ids=ids,
        images=ids,
        split=np.array([GROUPS[g] for g in groups], dtype=np.str_),
        labels=PoseLabels(LSP_SKELETON, joints, visible),
        boxes=boxes,
        box_source=box,
        may_start=np.array([g == "initial" for g in groups], dtype=np.bool_),
        difficulty=np.array([f.difficulty for f in figures], dtype=np.float32),
        ground_truth_boxes=box != "image",
    )


def _choose_hard(seed: int, group: int, count: int, share: float) -> list[bool]:
    """Which figures of a group are hard."""
    # Golden-ratio steps spread any share evenly: every prefix holds about that share and none depends on `count`.
    start = np.random.default_rng([seed, group]).uniform()
    return [(start + i * 0.6180339887498949) % 1 < share for i in range(count)]


def _sample_figure(key: tuple[int, int, int], hard: bool) -> Figure:
    rng = np.random.default_rng([*key, POSE_STREAM])
    difficulty = rng.uniform(0.6, 1.0) if hard else rng.uniform(0.0, 0.4)
    spread = difficulty if hard else 0.4 + 1.5 * difficulty
    points = body.sample_pose(rng, spread, 0.4 * difficulty if hard else 0.05, hard)
    lean = 180 * difficulty * rng.uniform(0.45, 1) if hard else 15 * spread * rng.uniform()
    lean = np.deg2rad(lean) * rng.choice([-1, 1])
    points = points @ np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
    girth = rng.uniform(0.92, 1.12)
    points, unit, box = _place_body(rng, points, girth)
    colours = _sample_palette(rng, difficulty if hard else 0.0)
    occluders = tuple(
        _sample_occluder(rng, points, unit, colours["wall"]) for _ in range(rng.integers(1, 4) if hard else 0)
    )
    return Figure(points, unit, box, difficulty, girth, colours, occluders, key)


def _place_body(rng: np.random.Generator, points: body.Array, girth: float) -> tuple[body.Array, float, body.Array]:
    """Points (P, 2), body height and box (4,) of a body that fills 70–85 % of an image of side 1."""
    low, high = body.measure_extent(points, girth)
    # A curled-up body would become a giant; limit it.
    unit = min(rng.uniform(0.70, 0.85) / (high - low).max(), 1.05)
    slack = np.maximum((1 - unit * (high - low)) / 2 - 0.03, 0)
    shift = 0.5 + rng.uniform(-1, 1, 2) * np.minimum(slack, 0.07) - unit * (low + high) / 2
    return points * unit + shift, unit, np.concatenate([low * unit + shift, (high - low) * unit])


def _convert_hsv(hue: float, saturation: float, value: float) -> body.Array:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _sample_palette(rng: np.random.Generator, camouflage: float) -> dict[str, body.Array]:
    """RGB of wall, floor and the figure's materials; `camouflage` in 0..1 mixes the figure into the rest."""
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
    weight, behind = 0.45 * camouflage, (wall + floor) / 2
    mixed = {material: (1 - weight) * colour + weight * behind for material, colour in colours.items()}
    return {"wall": wall, "floor": floor, **mixed}


def _sample_occluder(rng: np.random.Generator, points: body.Array, unit: float, wall: body.Array) -> Occluder:
    """Something before a limb, rarely before more of the body."""
    centre = points[body.INDEX[OCCLUDABLE_JOINTS[rng.integers(len(OCCLUDABLE_JOINTS))]]] + unit * rng.uniform(
        -0.05, 0.05, 2
    )
    half = unit * np.array([rng.uniform(0.035, 0.08), rng.uniform(0.07, 0.20)])
    colour = 0.5 * wall + 0.5 * rng.uniform(30, 230, 3)
    return Occluder(centre, half, rng.uniform(0, np.pi), float(rng.choice([2.0, 8.0])), colour)


def _draw_occluder(canvas: NDArray[np.uint8], thing: Occluder, side: int) -> None:
    for size, shade in ((1.0, 0.5), (0.85, 1.0)):  # a darker rim
        shape = body.build_superellipse(
            thing.centre * side - 0.5, size * side * thing.half, thing.angle, thing.power, corners=40
        )
        body.fill_polygon(canvas, shape, shade * thing.colour)
