"""Derive facts about a skeleton from its joint names: sides, mirrored partners and the torso's diagonals.

Sides are read from left_eye, l_eye, eye_left, LEye, eyeL, "left eye" or leftear, in any case.
"""

import re
from collections.abc import Sequence

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")  # of snake_case and of CamelCase
Pairs = tuple[tuple[int, int], ...]


def get_side(joint: str) -> str:
    """Return `left`, `right` or `middle`."""
    side, _ = _split_name(joint)
    return side


def find_flip_pairs(joints: Sequence[str]) -> Pairs:
    """Return the (left, right) positions of joints whose names differ only in their side."""
    positions: dict[tuple[str, tuple[str, ...]], int] = {}
    for position, name in enumerate(joints):
        # Where two names split alike (l_hip and Left-Hip), the first one counts.
        positions.setdefault(_split_name(name), position)

    pairs = []
    for (side, words), position in positions.items():
        partner = positions.get(("right", words))
        if side == "left" and partner is not None:
            pairs.append((position, partner))
    return tuple(sorted(pairs))


def find_torso_diagonals(joints: Sequence[str]) -> Pairs:
    """Return left shoulder to right hip and right shoulder to left hip, where joints have such names."""
    positions: dict[tuple[str, str], int] = {}
    for position, name in enumerate(joints):
        side, words = _split_name(name)
        positions[side, "".join(words)] = position

    diagonals = []
    for side, opposite in (("left", "right"), ("right", "left")):
        shoulder = positions.get((side, "shoulder"))
        hip = positions.get((opposite, "hip"))
        if shoulder is not None and hip is not None:
            diagonals.append((shoulder, hip))
    return tuple(diagonals)


def find_unpaired(joints: Sequence[str]) -> list[str]:
    """Return the names with a side whose partner is missing: in a mirrored image they name the wrong side."""
    paired: set[int] = set()
    for pair in find_flip_pairs(joints):
        paired.update(pair)
    return [name for j, name in enumerate(joints) if j not in paired and get_side(name) != "middle"]


def _split_name(joint: str) -> tuple[str, tuple[str, ...]]:
    """Return the side, and the words of the name without it.

    A word that is only a side leaves an empty one, so that left_eye and eye_right do not become partners.
    """
    words = [word.lower() for word in WORD.findall(joint)]
    for index, word in enumerate(words):
        for side in ("left", "right"):
            if word == side[0]:
                rest = ""
            elif word.startswith(side):
                rest = word.removeprefix(side)
            else:
                continue
            return side, (*words[:index], rest, *words[index + 1 :])
    return "middle", tuple(words)
