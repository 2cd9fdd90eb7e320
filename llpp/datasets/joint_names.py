"""Read a skeleton's sides from its joint names: left, right, mirrored partners and the torso's diagonals.

Two joints are partners if their names are equal apart from the side, as left_eye and right_eye, LEye and REye, paw_fl
and paw_fr, leftear and rightear, or leye and reye. `side_words` has the words.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

from llpp.datasets.side_words import (
    HIP_WORDS,
    LEFT,
    MIDDLE,
    RIGHT,
    SHOULDER_WORDS,
    SIDE_CODES,
    SIDE_SIGNS,
    SIDE_WORDS,
    SideWords,
)

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")  # of snake_case and of CamelCase
LETTERS = {"l": LEFT, "r": RIGHT}
OPPOSITES = {LEFT: RIGHT, RIGHT: LEFT}
# In an alphabet of joints the letter before it is a joint, too.
LETTERS_BEFORE = {"l": "k", "r": "q"}
INNER_LETTER = "letter within a word"
MAX_MARKS = 24  # parts of a name that are considered; a name with more is no name of a joint
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SideMark:
    """A part of a name that may be its side."""

    form: str  # a mark may be replaced by one of the same form
    side: str
    text: str = field(compare=False)
    is_certain: bool = field(compare=False)  # whether it is a side even if no other joint has the opposite

    @property
    def opposite(self) -> "SideMark":
        """The mark of the other side."""
        return replace(self, side=OPPOSITES[self.side])


Name = tuple[str | SideMark, ...]


@dataclass(frozen=True)
class Sides:
    """What the names of K joints say about their sides; joints are given by their positions."""

    pairs: Pairs  # (left, right), in order
    unpaired: tuple[int, ...]  # that have a side, but not exactly one possible partner
    sides: tuple[str, ...]  # (K,) left, right or middle
    base_names: tuple[str, ...]  # (K,) without the side


@lru_cache(maxsize=16)
def read_sides(joints: tuple[str, ...]) -> Sides:
    """Read the sides of all joints; what one name means may depend on the others."""
    names = _parse_names(joints)
    candidates = _find_candidates(names)
    partners = _find_mutual_partners(candidates)
    marks = _find_marks(names, partners)
    pairs = []
    unpaired = []
    sides = []
    base_names = []
    for position, name in enumerate(names):
        own_marks = marks[position]
        side = _get_side(name, own_marks)
        partner = partners.get(position)
        if partner is None and (own_marks or candidates[position]):
            unpaired.append(position)
        elif partner is not None and side == LEFT:
            pairs.append((position, partner))
        sides.append(side)
        base_names.append(_format_name(name, own_marks))
    return Sides(tuple(sorted(pairs)), tuple(unpaired), tuple(sides), tuple(base_names))


def find_torso_diagonals(joints: Sequence[str]) -> Pairs:
    """Return left shoulder to right hip and right shoulder to left hip, where joints have such names."""
    found = read_sides(tuple(joints))
    shoulders = {}
    hips = {}
    for position, (side, base_name) in enumerate(zip(found.sides, found.base_names, strict=True)):
        if base_name in SHOULDER_WORDS:
            shoulders[side] = position
        elif base_name in HIP_WORDS:
            hips[side] = position

    diagonals = []
    for side, opposite in OPPOSITES.items():
        if side in shoulders and opposite in hips:
            diagonals.append((shoulders[side], hips[opposite]))
    return tuple(diagonals)


def suggest_pairs(joints: Sequence[str]) -> Pairs:
    """Return the (left, right) positions of unpaired joints that are partners but for numbers or the word for a side.

    Such as paw1LH and paw4RH, or left_hip and r_hip.
    """
    found = read_sides(tuple(joints))
    positions: dict[str, dict[str, list[int]]] = {}
    for position in found.unpaired:
        base_name = re.sub(r"\d", "", found.base_names[position])
        by_side = positions.setdefault(base_name, {LEFT: [], MIDDLE: [], RIGHT: []})
        by_side[found.sides[position]].append(position)
    pairs = []
    for by_side in positions.values():
        if len(by_side[LEFT]) == len(by_side[RIGHT]) == 1:
            pairs.append((by_side[LEFT][0], by_side[RIGHT][0]))
    return tuple(sorted(pairs))


def _parse_names(joints: Sequence[str]) -> list[Name]:
    """Split the names into words, and the words at what may be a side."""
    split_names = [_split_words(joint) for joint in joints]
    all_words = {tuple(words) for words, _ in split_names}
    names = []
    for words, glued_to_number in split_names:
        parts: list[str | SideMark] = []
        for index, word in enumerate(words):
            if word not in LETTERS:
                parts += _parse_word(word)
            elif (*words[:index], LETTERS_BEFORE[word], *words[index + 1 :]) in all_words:
                parts.append(word)
            elif index in glued_to_number:
                # L1 may be a lumbar vertebra.
                parts.append(SideMark("letter before a number", LETTERS[word], word, is_certain=False))
            else:
                parts.append(SideMark("letter", LETTERS[word], word, is_certain=True))
        names.append(tuple(parts))
    return names


def _split_words(joint: str) -> tuple[list[str], set[int]]:
    """Return the words in lower case, and the numbers of those that a number follows without anything between."""
    # An accent may be a character of its own, which would end a word.
    matches = list(WORD.finditer(unicodedata.normalize("NFKC", joint)))
    words = [match[0].lower() for match in matches]
    glued_to_number = set()
    for index, (match, following) in enumerate(pairwise(matches)):
        if following[0].isdigit() and match.end() == following.start():
            glued_to_number.add(index)
    return words, glued_to_number


def _parse_word(word: str) -> list[str | SideMark]:
    """Split a word of at least two letters at what may be its side."""
    if word in SIDE_CODES:
        return _split_at_letters(word, "code", is_certain=True)
    for row in SIDE_SIGNS:
        marked = _split_at_sign(word, row)
        if marked is not None:
            return marked
    for row in SIDE_WORDS:
        marked = _split_at_side_word(word, row)
        if marked is not None:
            return marked
    return _split_at_letters(word)


def _split_at_sign(word: str, row: SideWords) -> list[str | SideMark] | None:
    """Split a word at the only sign of a row that it has; None if there is none, or both."""
    found = []
    for side, signs in ((LEFT, row.left), (RIGHT, row.right)):
        found += [(side, sign) for sign in signs if sign in word]
    if len(found) != 1:
        return None
    side, sign = found[0]
    before, _, after = word.partition(sign)
    return [before, SideMark(row.left[0], side, sign, row.is_certain), after]


def _split_at_side_word(word: str, row: SideWords) -> list[str | SideMark] | None:
    """Split a word that is, begins or ends with a side word of a row; None if it does not."""
    for side, side_words in ((LEFT, row.left), (RIGHT, row.right)):
        if word in side_words:
            return [SideMark(row.left[0], side, word, row.is_certain)]
    if not row.may_be_glued:
        return None
    for side, side_words in ((LEFT, row.left), (RIGHT, row.right)):
        # The longest first: droitemain is droite and main, not droit and emain.
        for side_word in sorted(side_words, key=len, reverse=True):
            if word.startswith(side_word):
                # leftear has a side whatever the other joints are; rechteck, a rectangle, has none.
                mark = SideMark(f"{row.left[0]}…", side, side_word, side_word in (LEFT, RIGHT))
                return [mark, *_split_at_letters(word.removeprefix(side_word))]
            if word.endswith(side_word):
                # In cleft and upright it is no side.
                mark = SideMark(f"…{row.left[0]}", side, side_word, is_certain=False)
                return [*_split_at_letters(word.removesuffix(side_word)), mark]
    return None


def _split_at_letters(word: str, form: str = INNER_LETTER, is_certain: bool = False) -> list[str | SideMark]:
    """Split a word at every l and r."""
    parts: list[str | SideMark] = []
    for piece in re.split("([lr])", word):
        if piece in LETTERS:
            parts.append(SideMark(form, LETTERS[piece], piece, is_certain))
        else:
            parts.append(piece)
    return parts


def _find_candidates(names: Sequence[Name]) -> list[set[int]]:
    """For each name, return the positions of those that differ from it in their side only."""
    positions: dict[Name, list[int]] = {}
    for position, name in enumerate(names):
        positions.setdefault(name, []).append(position)
    candidates = []
    for name in names:
        marks = [index for index, part in enumerate(name) if isinstance(part, SideMark)][:MAX_MARKS]
        # The right corner of the left eye changes places with the left corner of the right one.
        words = [index for index in marks if not _is_inner_letter(name[index])]
        found = set(positions.get(_swap_sides(name, words), ())) if words else set()
        if not found:
            for index in marks:
                found.update(positions.get(_swap_sides(name, [index]), ()))
        candidates.append(found)
    return candidates


def _is_inner_letter(part: str | SideMark) -> bool:
    return isinstance(part, SideMark) and part.form == INNER_LETTER


def _swap_sides(name: Name, indices: Sequence[int]) -> Name:
    """Return a name with the opposite of its marks at some indices."""
    parts = list(name)
    for index in indices:
        part = parts[index]
        if isinstance(part, SideMark):
            parts[index] = part.opposite
    return tuple(parts)


def _find_mutual_partners(candidates: Sequence[set[int]]) -> dict[int, int]:
    """Return the partner of each joint that is the only candidate of its only candidate."""
    partners = {}
    for position, found in enumerate(candidates):
        if len(found) != 1:
            continue
        (partner,) = found
        if candidates[partner] == {position}:
            partners[position] = partner
    return partners


def _find_marks(names: Sequence[Name], partners: Mapping[int, int]) -> list[list[int]]:
    """For each name, return the indices of the marks that are its side.

    In a pair, these are the ones that differ. In other names, those that are certain, or of a form that is a side in
    some pair: where forelegL2 and forelegR2 are partners, L is a side in forelegL1.
    """
    marks: list[list[int]] = [[] for _ in names]
    forms = set()
    for position, partner in partners.items():
        for index, (part, other) in enumerate(zip(names[position], names[partner], strict=True)):
            if isinstance(part, SideMark) and part != other:
                marks[position].append(index)
                forms.add(part.form)
    forms.discard(INNER_LETTER)
    for position, name in enumerate(names):
        if position in partners:
            continue
        for index, part in enumerate(name):
            if isinstance(part, SideMark) and (part.is_certain or part.form in forms):
                marks[position].append(index)
    return marks


def _get_side(name: Name, marks: Sequence[int]) -> str:
    """Return the side that the first of some marks of a name says."""
    for index in marks:
        part = name[index]
        if isinstance(part, SideMark):
            return part.side
    return MIDDLE


def _format_name(name: Name, left_out: Sequence[int]) -> str:
    """Return a name's words as one, without some of its parts."""
    texts = []
    for index, part in enumerate(name):
        if index not in left_out:
            texts.append(part.text if isinstance(part, SideMark) else part)
    return "".join(texts)
