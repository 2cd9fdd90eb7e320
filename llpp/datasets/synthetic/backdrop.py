"""Draw the scene behind a synthetic figure: wall, floor, texture, clutter.

The order of the random draws is part of the dataset: another order gives other images.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.synthetic import body

TEXTURE_CELLS = (3, 7, 17, 41, 89)  # per side, from coarse to fine grain
STROKE_MATERIALS = ("skin", "shirt", "trousers")


@dataclass(frozen=True)
class Appearance:
    """What the background adopts from the figure in front of it."""

    difficulty: float
    unit: float  # body height, share of the image side
    colours: body.Colours


def draw_backdrop(rng: np.random.Generator, figure: Appearance, size: int, side: int) -> NDArray[np.uint8]:
    """Draw wall and floor with a texture, and clutter that grows with difficulty, on a canvas (side, side, 3).

    Wall and floor are drawn with `size` pixels a side, which takes less time, and enlarged.
    """
    planes = _draw_textured_planes(rng, figure, size)
    canvas = np.asarray(cv2.resize(cv2.merge(planes), (side, side)), dtype=np.uint8)
    _draw_clutter(rng, canvas, figure, side)
    if figure.difficulty > 0.5:
        _draw_strokes(rng, canvas, figure, side)
    return canvas


def _draw_textured_planes(rng: np.random.Generator, figure: Appearance, size: int) -> list[NDArray[np.uint8]]:
    """Return red, green and blue (size, size) of wall and floor, which meet at a slanted horizon."""
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    slope = rng.uniform(-0.15, 0.15) * (1 + 4 * figure.difficulty)
    horizon = rng.uniform(0.1, 0.75)
    # 0 on the wall, 1 on the floor, a soft edge of some pixels between them.
    floor_share = np.clip((ramp[:, None] - np.float32(horizon) - np.float32(slope) * ramp) * (size / 4), 0, 1)
    texture = _sample_texture(rng, figure.difficulty, ramp)
    planes = []
    for wall, floor in zip(figure.colours["wall"].tolist(), figure.colours["floor"].tolist(), strict=True):
        plane = wall + floor_share * (floor - wall)
        # In 8 bits OpenCV's addition saturates where NumPy's would wrap around.
        planes.append(np.asarray(cv2.add(plane, texture, dtype=cv2.CV_8U), dtype=np.uint8))
    return planes


def _sample_texture(rng: np.random.Generator, difficulty: float, ramp: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return grain of several sizes and a slope of light, to be added to colours: (N,) in -1..1 → (N, N)."""
    texture = np.zeros((2, 2), dtype=np.float32)
    for cells in TEXTURE_CELLS:
        grain = rng.random((cells, cells), dtype=np.float32) - np.float32(0.5)
        texture = cv2.resize(texture, (cells, cells)) + np.float32(14 + 26 * difficulty) * grain
    light = rng.uniform(-14, 14, 2).astype(np.float32)
    size = len(ramp)
    result: NDArray[np.float32] = cv2.resize(texture, (size, size)) + light[0] * ramp[:, None] + light[1] * ramp
    return result


def _draw_clutter(rng: np.random.Generator, canvas: NDArray[np.uint8], figure: Appearance, side: int) -> None:
    """Draw superellipses in the colours of wall and floor."""
    difficulty = figure.difficulty
    for _ in range(2 + int(6 * difficulty)):
        base = figure.colours["wall"] if rng.uniform() < 0.6 else figure.colours["floor"]
        colour = base + rng.uniform(-20, 20) * (1 + 2 * difficulty)
        centre = side * rng.uniform(0, 1, 2)
        half = side * rng.uniform(0.03, 0.14, 2)
        power = float(rng.choice([2.0, 6.0]))
        angle = rng.uniform(0, np.pi)
        body.fill_polygon(canvas, body.build_superellipse(centre, half, angle, power), colour)


def _draw_strokes(rng: np.random.Generator, canvas: NDArray[np.uint8], figure: Appearance, side: int) -> None:
    """Draw bent strokes as thick as limbs, in the colours of the figure."""
    unit = figure.unit * side
    for _ in range(2 + int(6 * (figure.difficulty - 0.5))):
        heading = rng.uniform(0, 2 * np.pi) + np.array([0.0, rng.uniform(-2, 2)])
        steps = 0.2 * unit * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        path = side * rng.uniform(0, 1, 2) + np.array([[0, 0], steps[0], steps[0] + steps[1]])
        radii = unit * np.array([[0.042, 0.032], [0.030, 0.020]]) * rng.uniform(0.8, 1.3)
        material = STROKE_MATERIALS[rng.integers(len(STROKE_MATERIALS))]
        body.draw_stroke(canvas, path, radii, body.OUTLINE * unit, figure.colours[material])
