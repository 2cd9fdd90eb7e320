"""Joints and limbs as SVG, over a picture and in its pixels.

Widths are those of the style sheet, in pixels of the screen: a thumbnail and the large picture are the same drawing.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from llpp.pages.viewer import Colour, LayerStyle, Skeleton

Points = NDArray[np.floating[Any]]
FINE_BELOW = 200  # pixels of a picture's side: smaller ones need fractions of a pixel


def draw_layer(points: Points, style: LayerStyle, skeleton: Skeleton, side: int) -> Markup:
    """Return a group of paths for (K, 2) joints in pixels of the picture, NaN where absent.

    Args:
        points: of the joints.
        style: of the layer.
        skeleton: limbs and colours.
        side: of the picture, pixels.
    """
    decimals = 1 if side < FINE_BELOW else 0
    limbs: dict[Colour, list[str]] = {}
    dots: dict[Colour, list[str]] = {}
    known = np.asarray(np.isfinite(points).all(axis=1))
    for start, end in skeleton.edges:
        if known[start] and known[end]:
            colour = style.colour or skeleton.choose_limb_colour(start, end)
            line = f"M{_format_point(points[start], decimals)}L{_format_point(points[end], decimals)}"
            limbs.setdefault(colour, []).append(line)
    for joint in np.flatnonzero(known).tolist():
        colour = style.colour or skeleton.colours[joint]
        # A line without length has round ends, which are a dot of the line's width.
        dots.setdefault(colour, []).append(f"M{_format_point(points[joint], decimals)}h0")
    parts = []
    # All casings come first, so that none covers a colour.
    for kind, drawn in (("limb", limbs), ("dot", dots)):
        if drawn:
            every = [line for lines in drawn.values() for line in lines]
            parts.append(f'<path class="{kind} casing" d="{"".join(every)}"/>')
        parts += _draw_colours(kind, drawn.items())
    thin = " thin" if style.colour else ""
    content = Markup("".join(parts))
    return Markup('<g class="layer{}" data-layer="{}">{}</g>').format(thin, style.key, content)


def _draw_colours(kind: str, drawn: Iterable[tuple[Colour, list[str]]]) -> list[str]:
    paths = []
    for (red, green, blue), lines in drawn:
        paths.append(f'<path class="{kind}" stroke="#{red:02x}{green:02x}{blue:02x}" d="{"".join(lines)}"/>')
    return paths


def _format_point(point: Points, decimals: int) -> str:
    x, y = (float(value) for value in point)
    return f"{x:.{decimals}f} {y:.{decimals}f}"
