"""Find and read MPII's annotations in the three forms in which they circulate, recognised by their content.

The official `mpii_human_pose_v1_u12_1.mat` (Andriluka et al., CVPR 2014), and two JSON files that others made from
it: see `mat_format` and `json_formats`.
"""

import gzip
import json
import reprlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llpp.datasets.isolated_reader import read_in_subprocess
from llpp.datasets.mpii.json_formats import read_form_a, read_form_b
from llpp.datasets.mpii.mat_format import add_head_sizes, read_official
from llpp.datasets.mpii.persons import REMEDY, Person, Persons, build_persons
from llpp.errors import ConfigError, DataError

KNOWN_FILES: tuple[tuple[str, ...], ...] = (
    ("mpii_human_pose_v1_u12_1.mat",),
    ("train.json", "valid.json"),
    ("mpii_annotations.json",),
    ("mpii_annotations.json.gz",),
    ("annotations.json",),
)
FOLDERS = (".", "annot")
MAX_BYTES = 1 << 27  # of JSON without compression; the published files have 50 MB, and objects take 20 times as much


class Content(NamedTuple):
    """The content of one file."""

    form: str
    persons: list[Person]
    notes: list[str]


def find_annotations(root: Path, annotations: str | Sequence[str] | None) -> list[Path]:
    """Return the annotation files: those named, or the first known ones in `root` or `root/annot`.

    Raises:
        ConfigError: more than two files are named.
        DataError: a named file, or every known one, is missing.
    """
    if annotations is not None:
        return _find_named_files(root, annotations)
    for names in KNOWN_FILES:
        for folder in FOLDERS:
            paths = [root / folder / name for name in names]
            if all(path.is_file() for path in paths):
                return paths
    known = ", ".join(" with ".join(names) for names in KNOWN_FILES)
    raise DataError(
        f"no MPII annotations in {root.absolute()}; expected one of {known}: put one there, or set dataset.root=… "
        "or dataset.annotations=…; see docs/datasets.md"
    )


def _find_named_files(root: Path, annotations: str | Sequence[str]) -> list[Path]:
    names = [annotations] if isinstance(annotations, str) else list(annotations)
    if len(names) not in (1, 2):
        raise ConfigError(f"dataset.annotations names {len(names)} files; use one, or [train.json, valid.json]")
    paths = [root / name for name in names]
    for path in paths:
        if not path.is_file():
            raise DataError(f"no MPII annotations at {path.absolute()}; put them there or set dataset.root=…")
    return paths


def read_annotations(paths: Sequence[Path]) -> tuple[Persons, list[str]]:
    """Return the persons of one file, or of form A's two, and notes for readers of the results."""
    contents = [_read_content(path) for path in paths]
    first = contents[0]
    if len(contents) == 1:
        return build_persons(first.persons, str(paths[0])), first.notes
    second = contents[1]
    if {first.form, second.form} != {"A"}:
        raise ConfigError(
            "dataset.annotations names two files, which only form A has (train.json, valid.json); use one"
        )
    test_persons = second.persons
    head_path = paths[1].parent / "gt_valid.mat"
    if head_path.is_file():
        test_persons = add_head_sizes(test_persons, head_path)
    persons = [*_mark_split(first.persons, test=False), *_mark_split(test_persons, test=True)]
    return build_persons(persons, f"{paths[0]} with {paths[1].name}"), first.notes


def _mark_split(persons: Sequence[Person], test: bool) -> list[Person]:
    return [person._replace(test=test) for person in persons]


def _read_content(path: Path) -> Content:
    """Read a file of any form."""
    content = _read_json(path)
    if content is None:
        # Damaged .mat files can crash SciPy's reader.
        persons, notes = read_in_subprocess(read_official, path)
        return Content("official", persons, notes)
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{path} holds {reprlib.repr(content)}; expected a list of persons; {REMEDY}")
    if "joint_self" in content[0]:
        return Content("B", read_form_b(content, path.name), [])
    if {"image", "center"} <= content[0].keys():
        note = "JSON form A does not distinguish occluded joints from visible ones: all count as visible"
        return Content("A", read_form_a(content, path.name), [note])
    raise DataError(
        f"{path} has persons with {reprlib.repr(sorted(content[0]))}; expected image, center, scale, joints and "
        f"joints_vis, or img_paths, objpos, scale_provided and joint_self; {REMEDY}"
    )


def _read_json(path: Path) -> Any:
    """Return the content of a JSON file, gzipped or not; None if it is a MATLAB file."""
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            head = file.read(6)
            if head == b"MATLAB":
                return None
            # A small archive may unpack to any size.
            data = head + file.read(MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES:,} bytes; MPII's annotations have 50 MB; {REMEDY}")
        return json.loads(data)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read as JSON or MATLAB file ({reason}); it is damaged: {REMEDY}"
        ) from error
