"""Viewers as HTML, and pages that hold some: one file without a network.

Names of images, joints and methods come from users: all of them are escaped, in HTML and in the data for the script.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from llpp.pages.skeleton_svg import draw_layer
from llpp.pages.viewer import Number, Picture, Viewer, Word

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
NO_WORD = "none"
TINY_BELOW = 48  # pixels of a picture's longer side, as in CIFAR-10


@dataclass(frozen=True)
class Page:
    """A page around viewers."""

    title: str  # of the browser's tab
    heading: str
    origin: str  # which command on what, below the heading
    lead: str  # the one sentence that readers came for
    viewers: Sequence[Viewer]
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Card:
    """A picture as the grid shows it."""

    picture: Picture
    name: str  # the end of the id
    numbers: list[tuple[Number, str]]
    words: list[tuple[str, str]]  # titles and values
    labels: list[str]  # words for the caption
    layers: Markup
    is_tiny: bool  # so small that its pixels are to be seen as squares


def render_page(page: Page) -> str:
    """Return a page's HTML."""
    return make_environment().get_template("page.html.j2").render(page=page)


def render_viewer(viewer: Viewer) -> Markup:
    """Return a viewer's HTML, for a page that has `read_style` and `read_script` once."""
    viewer = _drop_unknown_numbers(viewer)
    values = {word.key: _count_values(viewer, word) for word in viewer.words}
    several = [word for word in viewer.words if len(values[word.key]) > 1]
    labels = [word.key for word in several if word.is_in_caption]
    template = make_environment().get_template("viewer.html.j2")
    html = template.render(
        viewer=viewer,
        cards=[_make_card(viewer, picture, labels) for picture in viewer.pictures],
        filters=[(word, values[word.key]) for word in several if word.is_filter],
        groups=[word for word in viewer.words if word in several or word.key == viewer.group],
        ranges=[(number, *_find_range(viewer, number)) for number in viewer.numbers if number.is_in_caption],
        data=_encode_data(viewer),
    )
    return Markup(html)


def read_style() -> Markup:
    """Return the style sheet of pages and viewers, for a <style> element."""
    sheets = [(FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "viewer.css")]
    return Markup("".join(sheets))


def read_script() -> Markup:
    """Return the script of viewers, for a <script> element at the end of the page."""
    return Markup((FOLDER / "viewer.js").read_text(encoding="utf-8"))


def make_security_policy() -> str:
    """Return a Content-Security-Policy that allows this script, pictures within the page, and nothing else."""
    digest = hashlib.sha256(read_script().encode()).digest()
    script = base64.b64encode(digest).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"


@cache
def make_environment(*folders: Path) -> "Environment":
    """Return the templates of these folders and of this one, with escaping and what pages need."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([*folders, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        read_style=read_style,
        read_script=read_script,
        make_security_policy=make_security_policy,
        render_viewer=render_viewer,
    )
    return environment


def _make_card(viewer: Viewer, picture: Picture, labels: Sequence[str]) -> _Card:
    side = max(picture.image.width, picture.image.height)
    layers = []
    for style in viewer.layers:
        if style.key in picture.layers:
            layers.append(draw_layer(picture.layers[style.key], style, viewer.skeleton, side))
    numbers = [(number, _format_number(picture.numbers.get(number.key), number)) for number in viewer.numbers]
    words = [(word.title, picture.words.get(word.key, "")) for word in viewer.words if word.is_filter]
    return _Card(
        picture=picture,
        name=picture.name or picture.id.split("/")[-1],
        numbers=numbers,
        words=words,
        labels=[picture.words.get(key, "") for key in labels],
        layers=Markup("").join(layers),
        is_tiny=side < TINY_BELOW,
    )


def _drop_unknown_numbers(viewer: Viewer) -> Viewer:
    """Return a viewer without the numbers that none of its pictures has: nobody can sort by them."""
    known = tuple(number for number in viewer.numbers if _list_values(viewer, number))
    sort = viewer.sort if viewer.sort in {number.key for number in known} else ""
    return replace(viewer, numbers=known, sort=sort)


def _list_values(viewer: Viewer, number: Number) -> list[float]:
    """Return the values of a number that are known."""
    values = []
    for picture in viewer.pictures:
        value = picture.numbers.get(number.key)
        if value is not None and np.isfinite(value):
            values.append(value)
    return values


def _count_values(viewer: Viewer, word: Word) -> list[tuple[str, int]]:
    """Return the values of a word in the order in which they appear, with the number of their pictures."""
    return list(Counter(picture.words.get(word.key) or NO_WORD for picture in viewer.pictures).items())


def _find_range(viewer: Viewer, number: Number) -> tuple[str, str]:
    """Return the smallest and the largest value of a number, as text."""
    values = _list_values(viewer, number)
    return _format_number(min(values), number), _format_number(max(values), number)


def _format_number(value: float | None, number: Number) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    if number.decimals is None:
        return f"{value:.3g}"
    return f"{value:.{number.decimals}f}"


def _encode_data(viewer: Viewer) -> Markup:
    """Return what the script knows of a viewer, as JSON that cannot end its <script> element."""
    value = viewer.joint_value
    content = {
        "key": viewer.key,
        "numbers": [{"key": number.key, "worse": number.worse} for number in viewer.numbers],
        "words": [{"key": word.key, "notes": dict(word.notes)} for word in viewer.words],
        "layers": [{"key": layer.key, "title": layer.title, "shortcut": layer.shortcut} for layer in viewer.layers],
        "joints": viewer.skeleton.joints,
        "jointValue": None if value is None else {"title": value.title, "worse": value.worse},
        "pictures": [_list_picture(viewer, picture) for picture in viewer.pictures],
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _list_picture(viewer: Viewer, picture: Picture) -> dict[str, Any]:
    values = picture.joint_values
    return {
        "id": picture.id,
        "numbers": [_to_plain(picture.numbers.get(number.key), 6) for number in viewer.numbers],
        "words": [picture.words.get(word.key) or NO_WORD for word in viewer.words],
        "values": None if values is None else [_to_plain(value, 3) for value in values.tolist()],
        "points": [_list_points(picture, layer.key) for layer in viewer.layers],
    }


def _list_points(picture: Picture, layer: str) -> list[float | None] | None:
    """Return x, y, x, y, … of a layer; None if the picture does not have it."""
    points = picture.layers.get(layer)
    if points is None:
        return None
    return [_to_plain(value, 4) for value in points.reshape(-1).tolist()]


def _to_plain(value: float | None, digits: int) -> float | None:
    """Return a number with so many significant digits for JSON, which knows neither NaN nor infinities."""
    if value is None or not np.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")
