"""What joint names say about a skeleton: sides, mirrored partners and the torso's diagonals.

Sides are read from left_eye, l_eye, eye_left, LEye, eyeL, "left eye" or leftear, in any case.
"""

import re
from collections.abc import Sequence

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")  # of snake_case and of CamelCase
Pairs = tuple[tuple[int, int], ...]


def get_side(joint: str) -> str:
    """`left`, `right` or `middle`."""
    return _split_name(joint)[0]


def find_flip_pairs(joints: Sequence[str]) -> Pairs:
    """(left, right) positions of joints whose names differ only in their side."""
    place = {_split_name(name): j for j, name in reversed(list(enumerate(joints)))}
    lefts = [(rest, j) for (where, rest), j in place.items() if where == "left"]
    return tuple(sorted((j, place["right", rest]) for rest, j in lefts if ("right", rest) in place))


def find_torso_diagonals(joints: Sequence[str]) -> Pairs:
    """Left shoulder to right hip and right shoulder to left hip, as far as there are such names."""
    place = {(where, "".join(rest)): j for j, name in enumerate(joints) for where, rest in [_split_name(name)]}
    ends = ((("left", "shoulder"), ("right", "hip")), (("right", "shoulder"), ("left", "hip")))
    return tuple((place[a], place[b]) for a, b in ends if a in place and b in place)


def find_unpaired(joints: Sequence[str]) -> list[str]:
    """Names with a side whose partner is missing: a mirrored image would call them wrongly."""
    paired = {j for pair in find_flip_pairs(joints) for j in pair}
    return [name for j, name in enumerate(joints) if get_side(name) != "middle" and j not in paired]


def _split_name(joint: str) -> tuple[str, tuple[str, ...]]:
    """Side, and the words without it; an empty one keeps its place."""
    words = [word.lower() for word in WORD.findall(joint)]
    for n, word in enumerate(words):
        for which in ("left", "right"):
            if word == which[0] or word.startswith(which):
                return which, (*words[:n], word.removeprefix(which) if len(word) > 1 else "", *words[n + 1 :])
    return "middle", tuple(words)
