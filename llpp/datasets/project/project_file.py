"""project.json: what was decided about a project at its first start, and what has to stay."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llpp.errors import StateError
from llpp.files import read_text, replace_text

VERSION = 1
MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class Film:
    """A film whose frames are cut, read once from its beginning to its end."""

    id: str  # its path below the root when it was first found
    bytes: int
    digest: str  # SHA-256 of its first MiB
    frames: int  # that it has
    seconds: float  # that it lasts
    has_variable_rate: bool
    every: int  # each so many frames, one is a candidate
    segment: float  # seconds of a group


@dataclass(frozen=True)
class ProjectFile:
    """The decisions of a project. Splits follow from `salt` and `test_cut`, and never move."""

    name: str
    root: str  # absolute
    joints: Sequence[str]
    edges: Sequence[Sequence[int]]  # pairs of positions in `joints`
    grouping: str  # what images belong together: image | folder | source | film | a regular expression
    segment: float  # seconds of a film that belong together
    boxes: str  # image | a file | onnx:MODEL
    salt: str
    test_cut: float  # groups are for testing if the hash of salt and group, as a share of all hashes, is below
    films: Sequence[Film] = ()
    tool: str = ""  # that batches are written for
    run: str = ""  # absolute path of the run directory that asks; empty before the first batch
    first_batch: int = 0  # that round 0 of this run is trained after; later than 0 if an earlier run was deleted
    words: Sequence[str] = ()  # settings that `llpp label` was first given, and that hold for later starts
    facts: Mapping[str, Any] = field(default_factory=dict)  # other decisions of the dataset, such as white


def write_project(project: ProjectFile, path: Path) -> None:
    """Replace project.json."""
    content = {"llpp_project": VERSION, **asdict(project)}
    replace_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def read_project(path: Path) -> ProjectFile | None:
    """Read project.json; None if there is none. StateError if it is damaged, or of another version."""
    try:
        text = read_text(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{path} cannot be read: {error}; restore it from a backup") from error
    try:
        content = json.loads(text)
        version = content.pop("llpp_project")
        films = tuple(Film(**film) for film in content.pop("films"))
        project = ProjectFile(**content, films=films)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateError(f"{path} is damaged: it is not what llpp writes; restore it from a backup") from error
    if version != VERSION:
        raise StateError(f"{path} has version {version!r}, this llpp reads {VERSION}; update llpp")
    return project
