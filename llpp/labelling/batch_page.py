"""`batch.html`: the images of a batch, what the model suggests for them, and why they were chosen.

One file that needs no network and no script, for a desk or a phone, by day or by night.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from llpp.datasets.images import read_reduced
from llpp.datasets.pose import Skeleton
from llpp.errors import DataError
from llpp.journal.answers import PersonLabel
from llpp.labelling.instructions import COMMON, Instructions, describe_batch, describe_parts
from llpp.oracles.tool import AskedImage, LabelBatch, Size
from llpp.tasks.pose.drawing import SIDE_COLOURS, draw_joints

SIDE = 300  # pixels of a thumbnail's longer side
MAX_PAGE_BYTES = 9 << 20  # of all thumbnails
# Side and JPEG quality of thumbnails, the best first; the last one is taken even if it is too large.
QUALITIES = ((SIDE, 85), (SIDE, 75), (240, 70), (200, 65), (160, 60), (120, 50))
BLIND_REASON = "asked without a suggestion, to see by how much suggestions lead people"
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """One image on the page."""

    id: str
    name: str
    rank: int
    reason: str
    predicted_loss: str  # empty where people are not to know it
    annotators: str  # who gets it; empty if there is one annotator only
    thumbnail: str  # JPEG, base64; empty if the image cannot be read
    problem: str  # why it cannot


@dataclass(frozen=True)
class Section:
    """The images of one role."""

    title: str
    note: str
    tiles: Sequence[Tile]
    colours: Sequence[tuple[tuple[int, int, int], str]] = ()  # of suggested joints, with their meaning


def render_page(
    batch: LabelBatch,
    instructions: Instructions,
    blind: Collection[str] = (),
    parts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the HTML of a batch.

    Args:
        batch: only what people are to see: without predictions of test images and blind ones.
        instructions: how to label it.
        blind: ids of training images that are asked for without a suggestion to compare.
        parts: who gets an image, by its id.
        notes: sentences for the top of the page, such as how far annotators agreed so far.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = [Path(__file__).parent, Path(__file__).parents[1] / "pages"]
    # Names of files and joints come from users: everything is escaped.
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        Section(
            title="For testing",
            note="Chosen at random and shown without suggestions. They measure the model, which is never trained on "
            "them; label them first.",
            tiles=_build_tiles(batch, "test", blind, parts or {}),
        ),
        Section(
            title="For training",
            note="The most wanted come first. Predicted losses rank images and have no unit: the larger, the worse "
            "the model expects to be.",
            tiles=_build_tiles(batch, "train", blind, parts or {}),
            colours=_list_colours(batch),
        ),
    ]
    return environment.get_template("batch.html.j2").render(
        batch=batch,
        summary=describe_batch(batch),
        instructions=instructions,
        part_lines=describe_parts(instructions),
        common=COMMON,
        notes=notes,
        sections=[section for section in sections if section.tiles],
    )


def _build_tiles(batch: LabelBatch, role: str, blind: Collection[str], parts: Mapping[str, str]) -> list[Tile]:
    """Build the tiles of all images with a role, in the order of their ranks."""
    most_bytes = MAX_PAGE_BYTES // max(len(batch.images), 1)
    tiles = []
    for image in sorted(batch.images, key=lambda asked: asked.rank):
        if image.role != role:
            continue
        thumbnail = ""
        problem = ""
        try:
            thumbnail = _make_thumbnail(image, batch.skeleton, most_bytes)
        except DataError as error:
            problem = str(error)
        # The rank of its predicted loss would give a blind image's prediction away, too.
        reason = BLIND_REASON if image.image in blind else image.reason
        loss = "" if image.predicted_loss is None else f"{image.predicted_loss:.3g}"
        tile = Tile(
            id=image.image,
            name=image.name,
            rank=image.rank,
            reason=reason,
            predicted_loss=loss,
            annotators=parts.get(image.image, ""),
            thumbnail=thumbnail,
            problem=problem,
        )
        tiles.append(tile)
    return tiles


def _list_colours(batch: LabelBatch) -> list[tuple[tuple[int, int, int], str]]:
    """Return the colours of suggestions with their meanings; none if nothing is suggested."""
    if not any(image.suggested for image in batch.images):
        return []
    return [(colour, side) for side, colour in SIDE_COLOURS.items()]


def _make_thumbnail(image: AskedImage, skeleton: Skeleton, most_bytes: int) -> str:
    """Return an image with its suggested joints as a JPEG in base64, of at most so many characters if possible."""
    longer = max(image.size)
    # Decoding a large JPEG at a fraction of its size takes a fraction of the time.
    pixels, _ = read_reduced(image.path, max(longer // (2 * SIDE), 1))
    text = ""
    for side, quality in QUALITIES:
        text = _encode(_draw(pixels, image.size, image.suggested, skeleton, side), quality)
        if len(text) <= most_bytes:
            break
    return text


def _draw(pixels: Pixels, size: Size, persons: Sequence[PersonLabel], skeleton: Skeleton, side: int) -> Pixels:
    """Resize pixels of an image of `size`, so that its longer side is `side`, and draw persons on it."""
    scale = side / max(size)
    width, height = (max(round(length * scale), 1) for length in size)
    is_smaller = max(pixels.shape[:2]) > side
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    tile = np.ascontiguousarray(cv2.resize(pixels, (width, height), interpolation=method), dtype=np.uint8)
    for person in persons:
        points = np.full((len(skeleton.joints), 2), np.nan)
        visible = np.zeros(len(skeleton.joints), dtype=np.uint8)
        for place, name in enumerate(skeleton.joints):
            if name in person.joints:
                x, y, visible[place] = person.joints[name]
                # Pixel centres are at whole numbers, and an image's edge is half a pixel before the first one.
                points[place] = (x + 0.5) * width / size[0] - 0.5, (y + 0.5) * height / size[1] - 0.5
        draw_joints(tile, points, visible, skeleton)
    return tile


def _encode(pixels: Pixels, quality: int) -> str:
    """Return RGB pixels as a JPEG in base64."""
    bgr = pixels[..., ::-1]
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return base64.b64encode(content.tobytes()).decode()
