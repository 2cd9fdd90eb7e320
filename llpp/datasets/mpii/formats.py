"""The three forms in which MPII's annotations circulate, told apart by their content.

The official `mpii_human_pose_v1_u12_1.mat` (Andriluka et al., CVPR 2014), and two JSON files that others made of it:
see `mpii_mat` and `mpii_json`.
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
    """What one file holds."""

    form: str
    persons: list[Person]
    notes: list[str]


def find_annotations(root: Path, annotations: str | Sequence[str] | None) -> list[Path]:
    """The annotation files: those named, or the first known ones that lie in `root` or `root/annot`."""
    if annotations is not None:
        names = [annotations] if isinstance(annotations, str) else list(annotations)
        if len(names) not in (1, 2):
            raise ConfigError(f"dataset.annotations names {len(names)} files; use one, or [train.json, valid.json]")
        paths = [root / name for name in names]
        if absent := [path for path in paths if not path.is_file()]:
            raise DataError(f"no MPII annotations at {absent[0].absolute()}; put them there or set dataset.root=…")
        return paths
    for known in KNOWN_FILES:
        for folder in FOLDERS:
            found = [root / folder / name for name in known]
            if all(path.is_file() for path in found):
                return found
    wanted = ", ".join(" with ".join(known) for known in KNOWN_FILES)
    raise DataError(
        f"no MPII annotations in {root.absolute()}; expected one of {wanted}: put one there, or set dataset.root=… "
        "or dataset.annotations=…; see README, Datasets"
    )


def read_annotations(paths: Sequence[Path]) -> tuple[Persons, list[str]]:
    """The persons of one file, or of form A's two, and what a reader of results should know about them."""
    first, *more = (_read_content(path) for path in paths)
    if not more:
        return build_persons(first.persons, str(paths[0])), first.notes
    if {first.form, more[0].form} != {"A"}:
        raise ConfigError(
            "dataset.annotations names two files, which only form A has (train.json, valid.json); use one"
        )
    tested = more[0].persons
    heads = paths[1].parent / "gt_valid.mat"
    if heads.is_file():
        tested = add_head_sizes(tested, heads)
    persons = [p._replace(test=False) for p in first.persons] + [p._replace(test=True) for p in tested]
    return build_persons(persons, f"{paths[0]} with {paths[1].name}"), first.notes


def _read_content(path: Path) -> Content:
    content = _read_json(path)
    if content is None:
        return Content("official", *read_in_subprocess(read_official, path))
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{path} holds {reprlib.repr(content)}; expected a list of persons; {REMEDY}")
    if "joint_self" in content[0]:
        return Content("B", read_form_b(content, path.name), [])
    if {"image", "center"} <= content[0].keys():
        note = "JSON form A does not tell occluded joints from visible ones: all count as visible"
        return Content("A", read_form_a(content, path.name), [note])
    raise DataError(
        f"{path} has persons with {reprlib.repr(sorted(content[0]))}; expected image, center, scale, joints and "
        f"joints_vis, or img_paths, objpos, scale_provided and joint_self; {REMEDY}"
    )


def _read_json(path: Path) -> Any:
    """Content of a JSON file, gzipped or not; None if it is a MATLAB file."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
        with gzip.open(path) if start == b"\x1f\x8b" else path.open("rb") as file:
            if (head := file.read(6)) == b"MATLAB":
                return None
            data = head + file.read(MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES:,} bytes; MPII's annotations have 50 MB; {REMEDY}")
        return json.loads(data)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read as JSON or MATLAB file ({reason}); it is damaged: {REMEDY}"
        ) from error
