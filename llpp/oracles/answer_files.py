"""What readers of labelling tools' files share: size limits, JSON and XML without surprises, checked values."""

import json
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree import ElementTree

from llpp.datasets.coco.oddities import MAX_NAME_LENGTH, format_value
from llpp.datasets.coco.values import check_name
from llpp.errors import DataError
from llpp.files import read_bytes

MAX_BYTES = 1 << 29  # of a file; ten thousand persons in Label Studio's JSON have 50 MB
MAX_DEPTH = 30  # of XML; CVAT's has 6
MAX_SECONDS = 1e9  # of one answer; what is longer is no duration


def read_file(path: Path) -> bytes:
    """Return a file's content; DataError if it cannot be read, or is too large."""
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); export it again") from error


def parse_json(what: str, content: bytes) -> Any:
    """Parse JSON; DataError if it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        # ValueError: no JSON, no UTF-8, or a number of thousands of digits.
        raise DataError(f"{what} cannot be read ({error}); it is truncated or no JSON: export it again") from error


class _ShallowBuilder(ElementTree.TreeBuilder):
    """Builds elements; DataError where they are nested more deeply than any tool does."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        """See `TreeBuilder.start`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise DataError(f"{self.what} nests its elements more than {MAX_DEPTH} deep; export it again")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        """See `TreeBuilder.end`."""
        self.depth -= 1
        return super().end(tag)


def parse_xml(what: str, content: bytes) -> ElementTree.Element:
    """Parse XML in UTF-8 and without definitions; DataError for all else.

    Definitions may be entities that grow without bounds, or that name other files.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{what} cannot be read ({error}); expected XML in UTF-8: export it again") from error
    for definition in ("<!DOCTYPE", "<!ENTITY"):
        if definition in text:
            raise DataError(f"{what} has a {definition[2:]}, which no labelling tool writes; export it again")
    # As text, so that the encoding which the file claims does not count: it could hide definitions from these lines.
    parser = ElementTree.XMLParser(target=_ShallowBuilder(what))
    try:
        parser.feed(text)
        return parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{what} cannot be read ({error}); it is truncated or no XML: export it again") from error


def is_text(value: Any) -> bool:
    """Whether a value is printable text that may be a name: see `check_name`."""
    try:
        check_name(Path(), "", value)
    except DataError:
        return False
    return True


def find_name_problem(value: Any) -> str:
    """Return what is wrong with a value as an image's file name, as a sentence; empty if nothing is."""
    if not is_text(value):
        shown = format_value(value)
        return f"the image is called {shown}; expected printable text of up to {MAX_NAME_LENGTH} characters"
    # Windows paths know both kinds of slash.
    parts = PureWindowsPath(value).parts
    if not parts or ".." in parts:
        return f"the image is called {value!r}, which leads out of its folder; name it by a path below it"
    return ""


def parse_seconds(value: Any) -> float | None:
    """Return a duration; None unless it is a number that can be one."""
    if type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS:
        return None
    return float(value)


def describe_confidence(predicted_loss: float | None) -> float | None:
    """Return a number from 0 to 1 that falls as the predicted loss grows, for tools that sort by confidence."""
    if predicted_loss is None:
        return None
    return 1 / (1 + max(predicted_loss, 0.0))
