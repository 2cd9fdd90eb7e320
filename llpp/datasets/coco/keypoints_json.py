"""COCO keypoints JSON (cocodataset.org, "Data format"): read, and checked before anything of it is believed."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from llpp.errors import ConfigError, DataError
from llpp.files import read_bytes

MAX_COORDINATE = 1e5  # pixels; no image is larger
MAX_BYTES = 1 << 31  # of a file; COCO's largest has 0.5 GB
MIN_BOX_SIDE = 1e-3  # pixels; less is nothing in single precision
MAX_NAME_LENGTH = 500  # characters of a name
REMEDY = "mend the file or export it again"
Id = int | str
Entry = dict[str, Any]


@dataclass(frozen=True)
class Category:
    """A kind of thing that has joints."""

    id: Id
    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]  # positions in `joints`
    dropped: int  # edges that were none


@dataclass(frozen=True)
class Instance:
    """One annotated person with at least one labelled joint."""

    id: Id
    image: Id
    joints: list[tuple[float, float, int]]  # x, y, COCO's visibility; x and y mean nothing where that is 0
    box: list[float] | None  # x, y, width, height; only where boxes were asked for


@dataclass(frozen=True)
class KeypointsFile:
    """What is usable of one file."""

    category: Category
    images: dict[Id, str]  # file names, relative to the folder of images, in the file's order
    instances: list[Instance]  # in the file's order
    annotated: set[Id]  # images with any annotation of the category
    left_out: Counter[str] = field(default_factory=Counter)  # annotations, by reason


def read_keypoints_file(path: Path, category: Id | None, boxes: bool) -> KeypointsFile:
    """Read a file's annotations of one category; `boxes` says that each needs a box.

    Raises:
        DataError: no file, no JSON, or an entry that cannot be meant, by its id.
        ConfigError: no such category, or several to choose from.
    """
    content = _read_json(path)
    kind = _choose_category(path, _get_entries(path, content, "categories"), category)
    images: dict[Id, str] = {}
    for entry in _get_entries(path, content, "images"):
        number = _check_id(path, "an image", "id", entry.get("id"))
        if number in images:
            raise DataError(f"{path}: image id {number!r} occurs more than once; {REMEDY}")
        images[number] = _check_file_name(path, number, entry.get("file_name"))
    found = KeypointsFile(kind, images, [], set())
    seen: set[Id] = set()
    for entry in _get_entries(path, content, "annotations"):
        if entry.get("category_id") == kind.id:
            number = _check_id(path, "an annotation", "id", entry.get("id"))
            if number in seen:
                raise DataError(f"{path}: annotation id {number!r} occurs more than once; {REMEDY}")
            seen.add(number)
            _add_annotation(path, number, entry, found, boxes)
    return found


def _add_annotation(path: Path, number: Id, entry: Entry, found: KeypointsFile, boxes: bool) -> None:
    """Add an annotation to what was found, or count why not."""
    image = _check_id(path, f"annotation {number!r}", "image_id", entry.get("image_id"))
    if image not in found.images:
        found.left_out["of images that the file does not list"] += 1
        return
    found.annotated.add(image)
    if entry.get("iscrowd"):
        found.left_out["of crowds"] += 1
        return
    joints = _parse_joints(path, number, entry.get("keypoints"), len(found.category.joints))
    if not any(visible for _, _, visible in joints):
        found.left_out["without a labelled joint"] += 1
        return
    found.instances.append(Instance(number, image, joints, _parse_box(path, number, entry) if boxes else None))


def _read_json(path: Path) -> Entry:
    try:
        content = json.loads(read_bytes(path, MAX_BYTES))
    except FileNotFoundError as error:
        raise DataError(
            f"no annotations in {path.absolute()}; put them there or set dataset.root=… or dataset.annotations=…; "
            "see README, Datasets"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, or a number of thousands of digits
        raise DataError(f"{path} cannot be read ({error}); it is truncated or no JSON: {REMEDY}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__}; expected an object with images, annotations and categories"
        )
    return content


def _get_entries(path: Path, content: Entry, key: str) -> list[Entry]:
    entries = content.get(key, [] if key == "annotations" else None)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: {key!r} is missing or no list of objects; expected COCO keypoints JSON: {REMEDY}")
    return entries


def _choose_category(path: Path, entries: list[Entry], wanted: Id | None) -> Category:
    """The wanted category, or the only one that has keypoints."""
    known = [entry for entry in entries if entry.get("keypoints")]
    if not known:
        raise DataError(f"{path} has no category with keypoints; expected a file like person_keypoints_val2017.json")
    names = [_check_name(path, "a category", entry.get("name")) for entry in known]
    chosen = [n for n, entry in enumerate(known) if wanted is None or wanted in (names[n], entry.get("id"))]
    if len(chosen) != 1:
        raise ConfigError(
            f"dataset.category={wanted!r} does not choose one of the categories with "
            f"keypoints in {path}; set it to one of {', '.join(map(repr, names))}"
        )
    entry, name = known[chosen[0]], names[chosen[0]]
    what = f"category {name!r}"
    if not isinstance(entry["keypoints"], list):
        raise DataError(f"{path}: the keypoints of {what} are no list of names; {REMEDY}")
    joints = tuple(_check_name(path, f"a keypoint of {what}", joint) for joint in entry["keypoints"])
    if len(set(joints)) != len(joints):
        raise DataError(f"{path}: {what} names a keypoint twice; {REMEDY}")
    edges, dropped = _parse_edges(entry.get("skeleton"), len(joints))
    return Category(_check_id(path, what, "id", entry.get("id")), name, joints, edges, dropped)


def _parse_edges(listed: Any, count: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """Edges as positions, and how many others were listed: COCO counts from 1, some tools from 0."""
    pairs = [p if isinstance(p, list) else [] for p in listed] if isinstance(listed, list) else []
    first = 0 if any(end == 0 for pair in pairs for end in pair) else 1
    edges = [
        (pair[0] - first, pair[1] - first)
        for pair in pairs
        if len(pair) == 2 and all(type(end) is int and first <= end < first + count for end in pair)
    ]
    edges = [(a, b) for a, b in edges if a != b]
    return tuple(edges), len(pairs) - len(edges)


def _parse_joints(path: Path, number: Id, values: Any, count: int) -> list[tuple[float, float, int]]:
    if values is None or values == []:
        return []
    if not isinstance(values, list) or len(values) != 3 * count:
        told = f"{len(values)} numbers" if isinstance(values, list) else "none"
        raise DataError(f"{path}: keypoints of annotation {number!r}: {told}; expected 3 × {count}; {REMEDY}")
    joints = list(zip(values[::3], values[1::3], values[2::3], strict=True))
    for x, y, visible in joints:
        if type(visible) not in (int, float) or visible not in (0, 1, 2):
            raise DataError(
                f"{path}: annotation {number!r} has the visibility {_format_value(visible)}; expected 0 (not labelled), "
                f"1 (occluded) or 2 (visible); {REMEDY}"
            )
        if visible and not (_is_coordinate(x) and _is_coordinate(y)):
            raise DataError(
                f"{path}: annotation {number!r} has a labelled joint at ({_format_value(x)}, {_format_value(y)}); expected image "
                f"pixels; {REMEDY}"
            )
    return [(x, y, int(visible)) for x, y, visible in joints]


def _parse_box(path: Path, number: Id, entry: Entry) -> list[float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_coordinate, box)) or min(box[2:]) < MIN_BOX_SIDE:
        told = ", ".join(map(_format_value, box[:5])) if isinstance(box, list) else _format_value(box)
        raise DataError(
            f"{path}: annotation {number!r} has the bbox [{told}]; expected x, y and a width and height above 0, in "
            "pixels: mend it or set dataset.box to joints or image"
        )
    return box


def _is_coordinate(value: Any) -> bool:
    """A number of pixels; NaN is none."""
    return type(value) in (int, float) and -MAX_COORDINATE <= value <= MAX_COORDINATE


def _format_value(value: Any) -> str:
    return repr(value)[:40]


def _check_id(path: Path, what: str, key: str, value: Any) -> Id:
    if type(value) is int and abs(value) < 1 << 63:
        return value
    if isinstance(value, str):
        return _check_name(path, what, value)
    raise DataError(f"{path}: {what} has the {key} {_format_value(value)}; expected a whole number; {REMEDY}")


def _check_name(path: Path, what: str, value: Any) -> str:
    """Printable text, which no terminal and no file system takes for something else."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_NAME_LENGTH:
        raise DataError(f"{path}: {what} is called {_format_value(value)}; expected printable text; {REMEDY}")
    return value


def _check_file_name(path: Path, number: Id, value: Any) -> str:
    """A relative path that stays in its folder, on any system."""
    name = _check_name(path, f"the file of image {number!r}", value)
    there = PureWindowsPath(name)  # knows both kinds of slash
    if there.anchor or ".." in there.parts or not there.name:
        raise DataError(
            f"{path}: image {number!r} has the file name {_format_value(name)}; expected a path inside the folder of images, "
            "without .. and no absolute one"
        )
    return name


def get_common_category(files: Sequence[tuple[Path, KeypointsFile]]) -> Category:
    """The category of all files; DataError if their joints differ."""
    (first, one), *others = files
    for path, other in others:
        if other.category.joints != one.category.joints:
            raise DataError(f"{path} names other keypoints than {first}; files of one dataset share their skeleton")
    return one.category
