"""Contact sheets: random crops of a split as evaluation sees them, with their joints.

Coordinates are (x, y), pixel centres at integers.
"""

import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np

from llpp.data.person_crop import PersonCrop
from llpp.datasets.pose import PoseDataset
from llpp.errors import DataError
from llpp.geometry import Warp
from llpp.tasks.pose.drawing import (
    SIDE_COLOURS,
    Pixels,
    Points,
    colour_limbs,
    draw_dot,
    draw_limbs,
    draw_ring,
    get_joint_colours,
)

TARGET_TILE_SIZE = 192  # pixels of a tile, unless crops are larger
MIN_COLUMNS, MAX_COLUMNS = 4, 6  # columns; fewer would not hold the heading
GAP, CAPTION, HEAD = 12, 16, 62  # pixels
DPI = 100
TRIES = 4  # times as many images are tried as are wanted, if some cannot be read


@dataclass(frozen=True)
class Sheet:
    """A picture, and what could not be shown on it."""

    png: bytes
    shown: tuple[int, ...]  # rows, in reading order
    problems: tuple[str, ...]


@dataclass(frozen=True)
class TextLine:
    """A line of text; pixels, y is its middle."""

    x: int
    y: int
    text: str
    size: int
    weight: str = "normal"


def draw_contact_sheet(dataset: PoseDataset, split: str, crop: PersonCrop, samples: int, seed: int) -> Sheet | None:
    """Draw up to `samples` persons of a split; None if none of those that were tried can be read."""
    rows = dataset.records.select_rows(split)
    order = np.random.default_rng([seed, len(rows)]).permutation(rows)[: samples * TRIES].tolist()
    tiles: dict[int, Pixels] = {}
    bad = []
    for row in order:
        if len(tiles) == samples:
            break
        try:
            tiles[row] = draw_tile(dataset, row, crop)
        except DataError as error:
            bad.append(str(error))
    if not tiles:
        return None
    title = f"{dataset.name} · {split} · {len(tiles):,} of {len(rows):,} persons"
    below = f"crops of {crop.size} px, {crop.padding:g} × the box from: {dataset.records.box_source}"
    names = [dataset.records.ids[row] for row in tiles]
    return Sheet(_compose_sheet(list(tiles.values()), names, title, below), tuple(tiles), tuple(bad))


def draw_tile(dataset: PoseDataset, row: int, crop: PersonCrop) -> Pixels:
    """(S, S, 3) RGB: the crop, enlarged by a whole number, under limbs and joints."""
    table, skeleton = dataset.records, dataset.skeleton
    cut = crop(
        dataset.load(row), table.boxes[row], table.joints[row], table.visible[row], Warp(), skeleton.flip_order
    )
    factor = choose_enlargement(crop)
    side = crop.size * factor
    shown = np.asarray(cv2.resize(cut.image, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    points = enlarge_points(cut.joints, factor)
    draw_limbs(shown, points, colour_limbs(skeleton), 2)
    for point, visible, colour in zip(points, cut.visible, get_joint_colours(skeleton), strict=True):
        (draw_dot if visible == 2 else draw_ring)(shown, point, colour)
    return shown


def choose_enlargement(crop: PersonCrop) -> int:
    """Pixels of a tile per pixel of the crop."""
    return max(1, round(TARGET_TILE_SIZE / crop.size))


def enlarge_points(points: Points, factor: int) -> Points:
    """Pixels of the crop → pixels of its tile."""
    return (points + 0.5) * factor - 0.5


def locate_tile(place: int, side: int, columns: int) -> tuple[int, int]:
    """Left and upper pixel of a tile on its sheet."""
    row, column = divmod(place, columns)
    return GAP + column * (side + GAP), HEAD + row * (side + CAPTION + GAP)


def count_columns(count: int) -> int:
    """Tiles beside each other."""
    return min(max(count, MIN_COLUMNS), MAX_COLUMNS)


def _compose_sheet(tiles: list[Pixels], names: list[str], title: str, below: str) -> bytes:
    """PNG of the tiles side by side, with their names."""
    side, columns = len(tiles[0]), count_columns(len(tiles))
    width = locate_tile(columns - 1, side, columns)[0] + side + GAP
    height = locate_tile(len(tiles) - 1, side, columns)[1] + side + CAPTION + GAP
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    words = [TextLine(GAP, 20, title, 15, "bold"), TextLine(GAP, 44, below, 12), *_draw_legend(canvas)]
    longest = side // 6  # characters
    for place, (drawn, name) in enumerate(zip(tiles, names, strict=True)):
        x, y = locate_tile(place, side, columns)
        canvas[y : y + side, x : x + side] = drawn
        short = name if len(name) <= longest else f"…{name[1 - longest :]}"
        words.append(TextLine(x, y + side + CAPTION // 2, short, 10))
    return _render_png(canvas, words)


def _draw_legend(canvas: Pixels) -> list[TextLine]:
    """Draw the signs at the upper right, and return their words."""
    grey, words = (150, 150, 150), []
    x = canvas.shape[1] - GAP
    for text, colour, draw, room in (
        ("middle", SIDE_COLOURS["middle"], draw_dot, 62),
        ("right", SIDE_COLOURS["right"], draw_dot, 52),
        ("left", SIDE_COLOURS["left"], draw_dot, 44),
        ("occluded", grey, draw_ring, 80),
        ("visible", grey, draw_dot, 60),
    ):
        x -= room + GAP
        draw(canvas, np.array([x, 44.0]), colour)
        words.append(TextLine(x + 12, 44, text, 12))
    return words


def _render_png(canvas: Pixels, words: list[TextLine]) -> bytes:
    """Matplotlib adds the words; every pixel of the canvas stays in its place."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = canvas.shape[:2]
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():  # an id may hold a dollar sign
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # or letters that the font lacks
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        FigureCanvasAgg(figure)
        figure.figimage(canvas)
        for word in words:
            figure.text(
                word.x / width,
                1 - word.y / height,
                word.text,
                va="center",
                fontsize=word.size * 72 / DPI,
                fontweight=word.weight,
                color="#1d2126",
            )
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()
