"""What the drawn figures stand before: wall, floor, texture, clutter."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.synthetic import body


@dataclass(frozen=True)
class Appearance:
    """What the background takes up from the figure before it."""

    difficulty: float
    unit: float  # body height, share of the image side
    colours: body.Colours


def draw_backdrop(rng: np.random.Generator, figure: Appearance, size: int, side: int) -> NDArray[np.uint8]:
    """Canvas (side, side, 3): wall and floor with a texture, and clutter that grows with difficulty."""
    hard = figure.difficulty
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    slope, horizon = rng.uniform(-0.15, 0.15) * (1 + 4 * hard), rng.uniform(0.1, 0.75)
    below = np.clip((ramp[:, None] - np.float32(horizon) - np.float32(slope) * ramp) * (size / 4), 0, 1)
    texture = np.zeros((2, 2), dtype=np.float32)
    for cells in (3, 7, 17, 41, 89):
        grain = rng.random((cells, cells), dtype=np.float32) - np.float32(0.5)
        texture = cv2.resize(texture, (cells, cells)) + np.float32(14 + 26 * hard) * grain
    light = rng.uniform(-14, 14, 2).astype(np.float32)
    texture = cv2.resize(texture, (size, size)) + light[0] * ramp[:, None] + light[1] * ramp
    wall, floor = figure.colours["wall"], figure.colours["floor"]
    planes = [w + below * (f - w) for w, f in zip(wall.tolist(), floor.tolist(), strict=True)]
    image = cv2.merge([cv2.add(plane, texture, dtype=cv2.CV_8U) for plane in planes])  # saturates
    canvas = np.asarray(cv2.resize(image, (side, side)), dtype=np.uint8)
    for _ in range(2 + int(6 * hard)):
        colour = (wall if rng.uniform() < 0.6 else floor) + rng.uniform(-20, 20) * (1 + 2 * hard)
        middle, half, power = side * rng.uniform(0, 1, 2), side * rng.uniform(0.03, 0.14, 2), rng.choice([2.0, 6.0])
        body.fill_polygon(canvas, body.build_superellipse(middle, half, rng.uniform(0, np.pi), float(power)), colour)
    if hard > 0.5:
        _draw_strokes(rng, canvas, figure, side)
    return canvas


def _draw_strokes(rng: np.random.Generator, canvas: NDArray[np.uint8], figure: Appearance, side: int) -> None:
    """Bent strokes as thick as limbs, in the colours of the figure."""
    unit = figure.unit * side
    for _ in range(2 + int(6 * (figure.difficulty - 0.5))):
        heading = rng.uniform(0, 2 * np.pi) + np.array([0.0, rng.uniform(-2, 2)])
        steps = 0.2 * unit * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        path = side * rng.uniform(0, 1, 2) + np.array([[0, 0], steps[0], steps[0] + steps[1]])
        radii = unit * np.array([[0.042, 0.032], [0.030, 0.020]]) * rng.uniform(0.8, 1.3)
        colour = figure.colours[("skin", "shirt", "trousers")[rng.integers(3)]]
        body.draw_stroke(canvas, path, radii, body.OUTLINE * unit, colour)
