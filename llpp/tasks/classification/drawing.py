"""Pictures of classified images."""

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 160  # pixels
FRAME = 6  # pixels
CORRECT = (120, 190, 120)  # RGB
WRONG = (220, 90, 70)
PADDING = (96, 96, 96)
DARK = (20, 20, 20)
LIGHT = (240, 240, 240)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.45


def draw_tile(image: NDArray[np.uint8], correct: bool) -> NDArray[np.uint8]:
    """(H, W, 3) → (TILE, TILE, 3): the whole image in a frame that says whether its class was recognised."""
    inner = TILE - 2 * FRAME
    height, width = image.shape[:2]
    scale = inner / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Enlarged pixels stay squares: what the network sees of a small image is not smoother than this.
    interpolation = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
    resized = cv2.resize(image, size, interpolation=interpolation)
    tile = np.full((TILE, TILE, 3), CORRECT if correct else WRONG, dtype=np.uint8)
    tile[FRAME : FRAME + inner, FRAME : FRAME + inner] = PADDING
    top = FRAME + (inner - size[1]) // 2
    left = FRAME + (inner - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = resized
    return tile


def write_label(tile: NDArray[np.uint8], text: str) -> None:
    """Write a word into the lower left corner of (H, W, 3), on a dark ground."""
    (width, height), below = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
    top = len(tile) - height - below - 4
    tile[top:, : width + 8] = DARK
    cv2.putText(tile, text, (4, len(tile) - below - 2), FONT, FONT_SCALE, LIGHT, 1, cv2.LINE_AA)
