"""The setting `dataset.flip_pairs`: which joints change places in a mirrored image."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llpp.datasets.joint_names import Pairs, read_sides
from llpp.errors import ConfigError, expect

AUTO = "auto"
SETTING = "dataset.flip_pairs"
EXAMPLE = "[[left_eye,right_eye]]"
EXPECTED = f"auto, or all pairs of joints as in {EXAMPLE}, or [] if none change places"
PLAIN_NAME = re.compile(r"[A-Za-z_?][A-Za-z0-9_]*")
FlipPairs = str | Sequence[Sequence[str]]  # AUTO, or pairs of joint names


def resolve_flip_pairs(setting: FlipPairs, joints: Sequence[str]) -> tuple[Pairs, tuple[int, ...]]:
    """Return the pairs of positions, and the joints that look like a left or right one without a pair.

    With `auto`, both are read from the names. Pairs that are given are all there are: no other joint lacks a partner.

    Raises:
        ConfigError: the setting is something else, names a joint that does not exist, or names one twice.
    """
    if setting == AUTO:
        found = read_sides(tuple(joints))
        return found.pairs, found.unpaired
    expect(_is_list(setting), SETTING, setting, EXPECTED)
    return _parse_pairs(setting, joints), ()


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _parse_pairs(pairs: Sequence[Any], joints: Sequence[str]) -> Pairs:
    """Return pairs of names as pairs of positions."""
    positions = {name: position for position, name in enumerate(joints)}
    pair_of: dict[str, str] = {}
    result = []
    for pair in pairs:
        left, right = _parse_pair(pair, positions)
        for name in (left, right):
            if name in pair_of:
                raise ConfigError(
                    f"{SETTING} has {name} in two pairs, {pair_of[name]} and [{left}, {right}]; a joint changes "
                    "places with one other joint only"
                )
        pair_of[left] = f"[{left}, {right}]"
        pair_of[right] = f"[{left}, {right}]"
        result.append((positions[left], positions[right]))
    return tuple(result)


def _parse_pair(pair: Any, positions: Mapping[str, int]) -> tuple[str, str]:
    """Return the two names of a pair, both of which are joints."""
    if not _is_list(pair) or len(pair) != 2:
        raise ConfigError(f"{SETTING} has the entry {pair!r}; expected two joints, as in {EXAMPLE}")
    # Hydra takes 7 for a number, but a joint may be called so.
    left, right = map(str, pair)
    for name in (left, right):
        if name not in positions:
            raise ConfigError(f"{SETTING} names {name}, which is no joint; the joints are {', '.join(positions)}")
    if left == right:
        raise ConfigError(
            f"{SETTING} pairs {left} with itself; leave it out, as every joint that does not change places"
        )
    return left, right


def format_flip_pairs(pairs: Iterable[Sequence[str]]) -> str:
    """Return pairs of joint names as a setting to type into a shell."""
    texts = []
    for pair in pairs:
        names = ",".join(map(_quote_name, pair))
        texts.append(f"[{names}]")
    return shlex.quote(f"{SETTING}=[{','.join(texts)}]")


def _quote_name(name: str) -> str:
    """Quote a joint's name if Hydra would not take it for a word."""
    if PLAIN_NAME.fullmatch(name):
        return name
    escaped = name.replace('"', '\\"')
    return f'"{escaped}"'
