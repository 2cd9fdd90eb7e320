"""labels.jsonl: the file of all answers. It only grows, so what was once answered is never lost.

What follows from it, such as which of two answers counts, is computed from all of its lines, see `fold`.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llpp.errors import DataError, StateError
from llpp.files import read_bytes
from llpp.hashing import hash_json
from llpp.journal.answers import KINDS, ORIGINS, Answer, Box, PersonLabel, Point

MAX_BYTES = 1 << 30
DIGITS = 3  # after the point, in a key: tools write the same number with other last digits
TEXTS = ("image", "kind", "origin", "annotator", "tool", "answered_at", "source", "file", "entry", "key")


def compute_key(
    image: str,
    tool: str,
    annotator: str,
    entry: str,
    kind: str,
    persons: Sequence[PersonLabel],
    origin: str,
    answered_at: str = "",
) -> str:
    """Return what makes an answer news: an answer whose key is in the journal is not written again.

    `answered_at` is given only if the tool states it. A tool without times cannot show that an edit was taken back
    exactly: the third of the answers A, B, A has the key of the first, is no news, and B counts.
    """
    content = []
    for person in persons:
        joints = {}
        for name, (x, y, visible) in person.joints.items():
            joints[name] = [round(x, DIGITS), round(y, DIGITS), visible]
        box = None if person.box is None else [round(value, DIGITS) for value in person.box]
        content.append([person.id, joints, box])
    return hash_json([image, tool, annotator, entry, kind, content, origin, answered_at])


def find_known_keys(answers: Sequence[Answer]) -> set[str]:
    """Return the keys that are no news.

    After a retraction, the same annotation is news again: it is back in the tool's file.
    """
    keys: dict[tuple[str, str, str], set[str]] = {}
    for answer in answers:
        who = (answer.image, answer.annotator, answer.tool)
        if answer.kind == "retracted":
            keys.pop(who, None)
        else:
            keys.setdefault(who, set()).add(answer.key)
    known: set[str] = set()
    return known.union(*keys.values())


def read_journal(path: Path) -> list[Answer]:
    """Read all answers, the oldest line first; none if there is no file.

    Half a line at the end is left out: a process was killed while it wrote it.

    Raises:
        StateError: the file cannot be read, or another line is damaged.
    """
    try:
        content = read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    lines = content.split(b"\n")
    last = lines.pop()
    answers = []
    for number, line in enumerate(lines, start=1):
        answer = _read_line(line)
        if answer is None:
            raise StateError(
                f"line {number} of {path} is damaged: it is not what llpp writes; fix or remove this line, or "
                "restore the file from a backup"
            )
        answers.append(answer)
    # A line may be whole but for its end.
    unfinished = _read_line(last)
    if unfinished is not None:
        answers.append(unfinished)
    return answers


def append_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Append one line per answer and flush them to the disk; no line of the file is changed.

    Half a line at the file's end, left by a process that was killed, is cut off before.

    Raises:
        DataError: an answer contradicts itself, so that the line could not be read again.
    """
    if not answers:
        return
    lines = [_write_line(answer) for answer in answers]
    for answer, line in zip(answers, lines, strict=True):
        # One such line would end every later start.
        if _read_line(line) is None:
            raise DataError(
                f"an answer about {answer.image} from {answer.file} cannot be kept: {line.decode()[:500]}"
            )
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("a+b") as file:
            length, line_end = _find_end(path)
            file.truncate(length)
            file.write(line_end + b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # The system names no file when a write fails.
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    if is_new:
        _flush_folder(path.parent)


def _find_end(path: Path) -> tuple[int, bytes]:
    """Return how many bytes to keep, and what the last line of these lacks."""
    content = read_bytes(path, MAX_BYTES)
    start = content.rfind(b"\n") + 1
    if _read_line(content[start:]) is None:
        return start, b""
    return len(content), b"\n"


def _flush_folder(folder: Path) -> None:
    """Flush a folder's list of files; without it a new file may be gone after a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_line(answer: Answer) -> bytes:
    persons = []
    for person in answer.persons:
        joints = {name: list(point) for name, point in person.joints.items()}
        box = None if person.box is None else list(person.box)
        persons.append({"id": person.id, "joints": joints, "box": box})
    content = {name: getattr(answer, name) for name in TEXTS}
    content |= {"persons": persons, "seconds": answer.seconds}
    # Not as UTF-8: names of files may hold bytes that are no text, which JSON's escapes keep.
    return json.dumps(content).encode() + b"\n"


def _read_line(line: bytes) -> Answer | None:
    """Read one line; None if it is not what `_write_line` writes."""
    try:
        content = json.loads(line)
        texts = {name: content[name] for name in TEXTS}
        persons = tuple(_read_person(person) for person in content["persons"])
        seconds = None if content["seconds"] is None else float(content["seconds"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not all(isinstance(text, str) for text in texts.values()):
        return None
    answer = Answer(persons=persons, seconds=seconds, **texts)
    return answer if _is_consistent(answer) else None


def _is_consistent(answer: Answer) -> bool:
    """Return whether an answer keeps what `Answer` says about its parts."""
    is_labelled = answer.kind == "labelled"
    has_origin = answer.origin in ORIGINS
    return answer.kind in KINDS and bool(answer.persons) == is_labelled and has_origin == is_labelled


def _read_person(content: Mapping[str, Any]) -> PersonLabel:
    joints = {}
    for name, values in content["joints"].items():
        joints[name] = _read_point(values)
    box = None if content["box"] is None else _read_box(content["box"])
    if not isinstance(content["id"], str):
        raise TypeError("a person's id is text")
    return PersonLabel(content["id"], joints, box)


def _read_point(values: Sequence[Any]) -> Point:
    x, y, visible = values
    if visible not in (1, 2) or not math.isfinite(x) or not math.isfinite(y):
        raise ValueError("a point has two numbers, and 1 or 2")
    return (float(x), float(y), int(visible))


def _read_box(values: Sequence[Any]) -> Box:
    x, y, width, height = values
    return (float(x), float(y), float(width), float(height))
