"""What to type in place of a word of the command line that Hydra cannot read.

Hydra has a grammar of its own: `=`, `#`, brackets, quotes and letters such as ü need quotes, which the shell removes
unless they stand inside another pair. Every remedy is read by Hydra before it is shown.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

NAME = re.compile(r"[+~]*[\w./@:-]+", re.ASCII)
MAX_NAMED = 3  # special characters that a message names
CLOSING = {"(": ")", "[": "]", "{": "}"}
# What Hydra reads without quotes inside a value, spaces and colons included.
PLAIN = re.compile(r"[\w/\-\\+.$%*@?|: ]", re.ASCII)
INTERPOLATION = re.compile(r"\$\{[^{}]*\}")
Remedy = tuple[str, str]  # what is wrong, and the words of the command line that say what was meant, for Hydra
Finder = Callable[[str, str, Sequence[str]], Remedy | None]  # takes name, value and the words that follow


def explain_unreadable_word(word: str, reason: str, words: Sequence[str], choices: dict[str, list[str]]) -> str:
    """One sentence about a word that Hydra cannot read.

    Args:
        word: of the command line, without the shell's quotes.
        reason: Hydra's own.
        words: all of the command line.
        choices: the groups of settings, each with its choices.
    """
    position = list(words).index(word) if word in words else len(words)
    following = words[position + 1 :]
    if "=" not in word:
        preceding = words[position - 1] if position > 0 else ""
        return f"{word!r} is invalid; expected OPTION=VALUE{_suggest_option(word, preceding, following, choices)}"
    name, _, value = word.partition("=")
    for find in FINDERS:
        found = find(name, value, following)
        if found is not None and _parse(found[1]) is not None:
            return f"{word!r} is invalid: {found[0]}; type {shlex.quote(found[1])}"
    if not NAME.fullmatch(name):
        return f"{word!r} is invalid: names of settings have letters a to z, digits, _ and dots only"
    if not _is_closed(value):
        return f"{word!r} is invalid: a bracket in it is not closed"
    # Hydra's own words, without the names of its classes and the line that points to a character.
    short = re.sub(r"^\w+Exception: |; *-*\^", "", reason)
    return f"{word!r} is invalid: {short}; put quotes around special characters, as in 'name=\"a=b\"'"


def _suggest_option(word: str, preceding: str, following: Sequence[str], choices: dict[str, list[str]]) -> str:
    """What may have been meant by a word without `=` between two others, as the end of a sentence."""
    next_word = following[0] if following else ""
    if next_word.startswith("="):
        value = next_word[1:] or " ".join(following[1:2])
        return f" without spaces, as in {_join_for_shell(word, value)}"
    if preceding.endswith("="):
        return f" without spaces, as in {_join_for_shell(preceding[:-1], word)}"
    bare = word.strip().lstrip("-")
    parts = re.fullmatch(r"([\w./]+)(?:: *| +)(.*)", bare)
    if parts is not None or bare != word:
        name = parts[1] if parts is not None else bare
        value = parts[2] if parts is not None else ""
        if not value and "=" not in next_word:
            value = next_word
        return f", as in {_join_for_shell(name, value)}"
    groups = [group for group, names in choices.items() if word in names]
    if groups:
        return f", as in {groups[0]}={word}"
    if "=" in preceding:
        joined = shlex.quote(f"{preceding} {word}")
        return f", as in dataset=lspet; if it belongs to the word before, put quotes around both: {joined}"
    if word in choices or next_word.isdigit():
        return f", as in {_join_for_shell(word, next_word)}"
    return ", as in dataset=lspet"


def _join_for_shell(name: str, value: str) -> str:
    return shlex.quote(f"{name}={quote_value(value)}") if value else f"{name}=VALUE"


def quote_value(value: str) -> str:
    """A value as Hydra can read it: in quotes if it has to be."""
    return value if _parse(f"name={value}") is not None else _put_in_quotes(value)


def _put_in_quotes(value: str) -> str:
    # In quotes, Hydra halves the backslashes before a quote, and leaves all others alone.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'


def _parse(override: str) -> "Override | None":
    """An override as Hydra reads it, None if it cannot."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _find_dashes_or_spaces(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    bare = name.strip().lstrip("-")
    if bare == name:
        return None
    return "settings have no dashes and no spaces before the =", f"{bare}={value.strip()}"


def _find_second_equals(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    if not value.startswith("="):
        return None
    return "it has one = too many", f"{name}={value.lstrip('=')}"


def _find_cut(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    """A bracket that is closed in one of the words that follow: the shell cuts at spaces."""
    joined = value
    for word in following:
        if _is_closed(joined):
            break
        joined = f"{joined} {word}"
    if joined == value or not _is_closed(joined):
        return None
    return "the shell cuts it at a space, unless quotes are around it", f"{name}={joined}"


def _is_closed(value: str) -> bool:
    return all(value.count(opening) <= value.count(closing) for opening, closing in CLOSING.items())


def _find_home(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    if not value.startswith("~"):
        return None
    home = str(Path(value).expanduser()) if value.startswith("~/") else value
    if home == value:
        return None
    return "Hydra does not put your home folder in the place of ~", f"{name}={quote_value(home)}"


def _find_stray_comma(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    kept = re.sub(r",(\s*,)+", ",", value).strip(" ,")
    if kept == value or not kept:
        return None
    return "it has a comma without a value", f"{name}={kept}"


def _find_equals_in_mapping(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    if not re.fullmatch(r"\{.*=.*\}", value):
        return None
    return "inside {} a colon stands between name and value", f"{name}={value.replace('=', ': ')}"


def _find_elements(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    """A list in other brackets, or with elements that need quotes."""
    if not re.fullmatch(r"\[.+\]|\(.+\)", value):
        return None
    elements = [quote_value(element.strip()) for element in value[1:-1].split(",")]
    return "lists are written in [], with quotes around special characters", f"{name}=[{','.join(elements)}]"


def _find_special_characters(name: str, value: str, following: Sequence[str]) -> Remedy | None:
    if "${" in INTERPOLATION.sub("", value):
        # Not closed, which quotes do not change.
        return None
    quoted = f"{name}={_put_in_quotes(value)}"
    parsed = _parse(quoted)
    if value.startswith(tuple(CLOSING)) or parsed is None or parsed.value() != value:
        return None
    special = list(dict.fromkeys(PLAIN.sub("", INTERPOLATION.sub("", value))))
    named = " and ".join(map(repr, special[:MAX_NAMED]))
    problem = f"its value has {named}, which Hydra reads in quotes only, inside those of the shell"
    if "," in value:
        several = ",".join(map(quote_value, value.split(",")))
        problem += f" (for several values each has its own: {shlex.quote(f'{name}={several}')})"
    return problem, quoted


FINDERS: tuple[Finder, ...] = (
    _find_dashes_or_spaces,
    _find_second_equals,
    _find_cut,
    _find_home,
    _find_stray_comma,
    _find_equals_in_mapping,
    _find_elements,
    _find_special_characters,
)
