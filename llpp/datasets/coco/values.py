"""Single values of COCO's JSON: ids, names and sizes."""

import unicodedata
from pathlib import Path
from typing import Any

from llpp.datasets.coco.oddities import MAX_NAME_LENGTH, REMEDY, Oddities, format_value
from llpp.errors import DataError

MAX_COORDINATE = 1e5  # pixels; no image is larger
MAX_ID = 1 << 63
Id = int | str
Entry = dict[str, Any]


def parse_id(oddities: Oddities, what: str, key: str, value: Any) -> Id:
    """Return an id that is a 64-bit whole number or printable text; 1, 1.0 and "1" are the same id."""
    if type(value) is int and abs(value) < MAX_ID:
        return value
    if type(value) is float and value.is_integer() and abs(value) < MAX_ID:
        oddities.accept("ids with a decimal point are read as whole numbers", f"{what} has the {key} {value!r}")
        return int(value)
    if isinstance(value, str):
        name = check_name(oddities.path, what, value)
        if not _is_whole_number(name):
            return name
        oddities.accept("ids in quotes are read as numbers", f"{what} has the {key} {value!r}")
        return int(name)
    raise DataError(f"{oddities.path}: {what} has the {key} {format_value(value)}; expected a whole number; {REMEDY}")


def simplify_id(value: Any) -> Any:
    """Return what `parse_id` makes of an id; of anything else the value itself."""
    if isinstance(value, str) and _is_whole_number(value):
        return int(value)
    return value


def _is_whole_number(text: str) -> bool:
    """Whether a number is written as Python writes it: 007 is text."""
    return text.isascii() and text.isdigit() and len(text) < 19 and str(int(text)) == text


def check_name(path: Path, what: str, value: Any) -> str:
    """Return printable text: control characters could command a terminal or confuse a file system."""
    if not isinstance(value, str) or not _is_printable(value) or not 0 < len(value) <= MAX_NAME_LENGTH:
        raise DataError(
            f"{path}: {what} is called {format_value(value)}; expected printable text of up to {MAX_NAME_LENGTH} "
            f"characters; {REMEDY}"
        )
    return value


def _is_printable(text: str) -> bool:
    """Whether a text has no control character; macOS writes narrow spaces into the names of screenshots."""
    if text.isprintable():
        return True
    spaces = [character for character in text if not character.isprintable()]
    return all(unicodedata.category(character) == "Zs" for character in spaces)


def parse_size(entry: Entry) -> tuple[int, int] | None:
    """Return the width and height of an image, None unless both are whole numbers of pixels."""
    sides = []
    for key in ("width", "height"):
        value: Any = entry.get(key)
        is_whole = type(value) is int or (type(value) is float and value.is_integer())
        if not is_whole or not 1 <= value <= MAX_COORDINATE:
            return None
        sides.append(int(value))
    return sides[0], sides[1]


def is_coordinate(value: Any) -> bool:
    """Check that a value is a number of pixels; NaN is none."""
    return type(value) in (int, float) and -MAX_COORDINATE <= value <= MAX_COORDINATE
