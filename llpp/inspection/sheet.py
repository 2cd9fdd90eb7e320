"""Contact sheets: random crops of a split, cut as in evaluation, with their labels.

Coordinates are (x, y), pixel centres at integers.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.data.person_crop import PersonCrop
from llpp.data.resampling import warp_image
from llpp.errors import DataError
from llpp.geometry import Matrix
from llpp.tasks.base import Symbol, Task

Pixels = NDArray[np.uint8]
TARGET_TILE_SIZE = 192  # pixels of a tile, unless crops are larger
MIN_COLUMNS = 4  # fewer would be narrower than the heading
MAX_COLUMNS = 6
GAP = 12  # pixels between tiles
CAPTION = 16  # pixels below a tile
HEAD = 62  # pixels above the tiles
DPI = 100
TRIES = 4  # images that are tried per tile, if some cannot be read


@dataclass(frozen=True)
class Sheet:
    """A contact sheet as PNG, and the images that could not be shown on it."""

    png: bytes
    shown: tuple[int, ...]  # rows of the records, in reading order
    problems: tuple[str, ...]  # one sentence per unreadable image


@dataclass(frozen=True)
class TextLine:
    """A line of text; x is its left end and y its middle, in pixels."""

    x: int
    y: int
    text: str
    size: int
    weight: str = "normal"


def draw_contact_sheet(task: Task, split: str, crop: PersonCrop, samples: int, seed: int) -> Sheet | None:
    """Draw up to `samples` records of a split, chosen by `seed`; None if no image that was tried can be read."""
    dataset = task.dataset
    rows = dataset.records.select_rows(split)
    rng = np.random.default_rng([seed, len(rows)])
    candidates = rng.permutation(rows)[: samples * TRIES].tolist()
    tiles: dict[int, Pixels] = {}
    problems = []
    for row in candidates:
        if len(tiles) == samples:
            break
        try:
            tiles[row] = draw_tile(task, row, crop)
        except DataError as error:
            problems.append(str(error))
    if not tiles:
        return None
    title = f"{dataset.name} · {split} · {len(tiles):,} of {len(rows):,} {task.record_word}"
    below = f"crops of {crop.size} px, {crop.padding:g} × the box from: {dataset.records.box_source}"
    names = [dataset.records.ids[row] for row in tiles]
    png = _compose_sheet(list(tiles.values()), names, title, below, task.list_symbols())
    return Sheet(png, shown=tuple(tiles), problems=tuple(problems))


def draw_tile(task: Task, row: int, crop: PersonCrop) -> Pixels:
    """Draw a record's crop, enlarged by a whole number, under its label: (S, S, 3) RGB.

    Raises:
        DataError: the image cannot be read.
    """
    image = task.dataset.load(row)
    matrix = crop.place(task.dataset.records.boxes[row], image.shape[:2])
    pixels = warp_image(image, matrix, crop.size)
    factor = choose_enlargement(crop)
    side = crop.size * factor
    enlarged = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC)
    tile = np.asarray(enlarged, dtype=np.uint8)
    task.draw_label(tile, row, build_enlargement_matrix(factor) @ matrix)
    return tile


def choose_enlargement(crop: PersonCrop) -> int:
    """Return the number of pixels of a tile per pixel of the crop, along one side."""
    return max(1, round(TARGET_TILE_SIZE / crop.size))


def build_enlargement_matrix(factor: int) -> Matrix:
    """(3, 3) pixels of the crop → pixels of its tile."""
    # Pixel centres are at integers, so the upper left corner is at -0.5.
    shift = (factor - 1) / 2
    return np.array([[factor, 0.0, shift], [0.0, factor, shift], [0.0, 0.0, 1.0]])


def locate_tile(place: int, side: int, columns: int) -> tuple[int, int]:
    """Return the left and upper pixel of a tile on its sheet; `place` counts in reading order."""
    row, column = divmod(place, columns)
    left = GAP + column * (side + GAP)
    upper = HEAD + row * (side + CAPTION + GAP)
    return left, upper


def count_columns(count: int) -> int:
    """Return the number of columns of a sheet with `count` tiles."""
    return min(max(count, MIN_COLUMNS), MAX_COLUMNS)


def _compose_sheet(tiles: list[Pixels], names: list[str], title: str, below: str, symbols: Sequence[Symbol]) -> bytes:
    """Lay out the tiles side by side with their names below and a heading above; return PNG."""
    side = len(tiles[0])
    columns = count_columns(len(tiles))
    last_left, _ = locate_tile(columns - 1, side, columns)
    _, last_upper = locate_tile(len(tiles) - 1, side, columns)
    height = last_upper + side + CAPTION + GAP
    width = last_left + side + GAP
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    words = [TextLine(GAP, 20, title, 15, "bold"), TextLine(GAP, 44, below, 12), *_draw_legend(canvas, symbols)]
    max_length = side // 6  # characters
    for place, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        x, y = locate_tile(place, side, columns)
        canvas[y : y + side, x : x + side] = tile
        # The end of a path is more informative than its beginning.
        if len(name) > max_length:
            name = f"…{name[1 - max_length :]}"
        words.append(TextLine(x, y + side + CAPTION // 2, name, 10))
    return _render_png(canvas, words)


def _draw_legend(canvas: Pixels, symbols: Sequence[Symbol]) -> list[TextLine]:
    """Draw the legend's symbols at the upper right, and return its words."""
    words = []
    x = canvas.shape[1] - GAP
    for symbol in reversed(symbols):
        x -= symbol.width + GAP
        symbol.draw(canvas, np.array([x, 44.0]))
        words.append(TextLine(x + 12, 44, symbol.text, 12))
    return words


def _render_png(canvas: Pixels, words: list[TextLine]) -> bytes:
    """Write the words on the canvas with Matplotlib and return PNG; the canvas is not resampled."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = canvas.shape[:2]
    # An id may contain a dollar sign, or letters that the font lacks.
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
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
