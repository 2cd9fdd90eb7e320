"""Read COCO keypoints JSON (cocodataset.org, "Data format") and check every value that is used."""

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
MIN_BOX_SIDE = 1e-3  # pixels; smaller sides vanish in single precision
MAX_NAME_LENGTH = 500  # characters
REMEDY = "fix the file or export it again"
Id = int | str
Entry = dict[str, Any]


@dataclass(frozen=True)
class Category:
    """A kind of thing that has joints."""

    id: Id
    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]  # positions in `joints`
    dropped: int  # listed edges that do not connect two joints


@dataclass(frozen=True)
class Instance:
    """One annotated person with at least one labelled joint."""

    id: Id
    image: Id
    joints: list[tuple[float, float, int]]  # x, y, COCO's visibility; x and y mean nothing where that is 0
    box: list[float] | None  # x, y, width, height; only where boxes were asked for


@dataclass(frozen=True)
class KeypointsFile:
    """The usable content of one file."""

    category: Category
    images: dict[Id, str]  # file names, relative to the folder of images, in the file's order
    instances: list[Instance]  # in the file's order
    annotated: set[Id]  # images with any annotation of the category
    left_out: Counter[str] = field(default_factory=Counter)  # annotations, by reason


def read_keypoints_file(path: Path, category: Id | None, boxes: bool) -> KeypointsFile:
    """Read a file's annotations of one category; with `boxes`, each must have a box.

    Raises:
        DataError: the file is missing, is no JSON, or has an entry with an impossible value, named by its id.
        ConfigError: the category does not exist, or several have keypoints and none is chosen.
    """
    content = _read_json(path)
    chosen = _choose_category(path, _get_entries(path, content, "categories"), category)
    images = _read_images(path, content)
    result = KeypointsFile(chosen, images, [], set())
    ids: set[Id] = set()
    for entry in _get_entries(path, content, "annotations"):
        if entry.get("category_id") != chosen.id:
            continue
        number = _check_id(path, "an annotation", "id", entry.get("id"))
        if number in ids:
            raise DataError(f"{path}: annotation id {number!r} occurs more than once; {REMEDY}")
        ids.add(number)
        _add_annotation(path, number, entry, result, boxes)
    return result


def _read_images(path: Path, content: Entry) -> dict[Id, str]:
    """Return the file name of each image by its id."""
    images: dict[Id, str] = {}
    for entry in _get_entries(path, content, "images"):
        number = _check_id(path, "an image", "id", entry.get("id"))
        if number in images:
            raise DataError(f"{path}: image id {number!r} occurs more than once; {REMEDY}")
        images[number] = _check_file_name(path, number, entry.get("file_name"))
    return images


def _add_annotation(path: Path, number: Id, entry: Entry, result: KeypointsFile, boxes: bool) -> None:
    """Add an annotation to `result`, or count the reason why it is left out."""
    image = _check_id(path, f"annotation {number!r}", "image_id", entry.get("image_id"))
    if image not in result.images:
        result.left_out["of images that the file does not list"] += 1
        return
    result.annotated.add(image)
    if entry.get("iscrowd"):
        result.left_out["of crowds"] += 1
        return
    joints = _parse_joints(path, number, entry.get("keypoints"), len(result.category.joints))
    if not any(visible for _, _, visible in joints):
        result.left_out["without a labelled joint"] += 1
        return
    box = _parse_box(path, number, entry) if boxes else None
    result.instances.append(Instance(number, image, joints, box))


def _read_json(path: Path) -> Entry:
    try:
        content = json.loads(read_bytes(path, MAX_BYTES))
    except FileNotFoundError as error:
        raise DataError(
            f"no annotations at {path.absolute()}; put them there or set dataset.root=… or dataset.annotations=…; "
            "see docs/datasets.md"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        # ValueError: no JSON, no UTF-8, or a number of thousands of digits.
        raise DataError(f"{path} cannot be read ({error}); it is truncated or no JSON: {REMEDY}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__}; expected an object with images, annotations and categories"
        )
    return content


def _get_entries(path: Path, content: Entry, key: str) -> list[Entry]:
    """Return the objects listed under a key; only annotations may be missing."""
    if key == "annotations" and key not in content:
        return []
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: {key!r} is missing or no list of objects; expected COCO keypoints JSON: {REMEDY}")
    return entries


def _choose_category(path: Path, entries: list[Entry], wanted: Id | None) -> Category:
    """Return the wanted category, or the only one that has keypoints."""
    names = []
    chosen = []
    for entry in entries:
        if entry.get("keypoints"):
            name = _check_name(path, "a category", entry.get("name"))
            names.append(name)
            if wanted is None or wanted in (name, entry.get("id")):
                chosen.append((entry, name))
    if not names:
        raise DataError(f"{path} has no category with keypoints; expected a file like person_keypoints_val2017.json")
    if len(chosen) != 1:
        choices = ", ".join(map(repr, names))
        raise ConfigError(
            f"dataset.category={wanted!r} does not choose one of the categories with "
            f"keypoints in {path}; set it to one of {choices}"
        )
    return _parse_category(path, *chosen[0])


def _parse_category(path: Path, entry: Entry, name: str) -> Category:
    what = f"category {name!r}"
    if not isinstance(entry["keypoints"], list):
        raise DataError(f"{path}: the keypoints of {what} are no list of names; {REMEDY}")
    joints = tuple(_check_name(path, f"a keypoint of {what}", joint) for joint in entry["keypoints"])
    if len(set(joints)) != len(joints):
        raise DataError(f"{path}: {what} names a keypoint twice; {REMEDY}")
    edges, dropped = _parse_edges(entry.get("skeleton"), len(joints))
    return Category(_check_id(path, what, "id", entry.get("id")), name, joints, edges, dropped)


def _parse_edges(listed: Any, count: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the edges as positions of `count` joints, and how many listed ones do not connect two joints."""
    if not isinstance(listed, list):
        return (), 0
    # COCO counts joints from 1, some tools from 0: a single 0 gives these away.
    first = 1
    for pair in listed:
        if isinstance(pair, list) and 0 in pair:
            first = 0
    edges = []
    for pair in listed:
        if not isinstance(pair, list) or len(pair) != 2:
            continue
        start, end = pair
        if _is_position(start, first, count) and _is_position(end, first, count) and start != end:
            edges.append((start - first, end - first))
    return tuple(edges), len(listed) - len(edges)


def _is_position(value: Any, first: int, count: int) -> bool:
    """Check that a value is one of `count` whole numbers from `first` on; True is none."""
    return type(value) is int and first <= value < first + count


def _parse_joints(path: Path, number: Id, values: Any, count: int) -> list[tuple[float, float, int]]:
    """Return x, y and visibility of each joint; nothing for an annotation without keypoints."""
    if values is None or values == []:
        return []
    if not isinstance(values, list) or len(values) != 3 * count:
        length = f"{len(values)} numbers" if isinstance(values, list) else "none"
        raise DataError(f"{path}: keypoints of annotation {number!r}: {length}; expected 3 × {count}; {REMEDY}")
    joints = []
    for x, y, visible in zip(values[::3], values[1::3], values[2::3], strict=True):
        if type(visible) not in (int, float) or visible not in (0, 1, 2):
            raise DataError(
                f"{path}: annotation {number!r} has the visibility {_format_value(visible)}; "
                f"expected 0 (not labelled), 1 (occluded) or 2 (visible); {REMEDY}"
            )
        # The coordinates of joints that are not labelled may be anything.
        if visible and not (_is_coordinate(x) and _is_coordinate(y)):
            raise DataError(
                f"{path}: annotation {number!r} has a labelled joint at ({_format_value(x)}, {_format_value(y)}); "
                f"expected image pixels; {REMEDY}"
            )
        joints.append((x, y, int(visible)))
    return joints


def _parse_box(path: Path, number: Id, entry: Entry) -> list[float]:
    """Return x, y, width and height, each side at least MIN_BOX_SIDE."""
    box = entry.get("bbox")
    if not isinstance(box, list):
        raise _make_box_error(path, number, _format_value(box))
    if len(box) != 4 or not all(map(_is_coordinate, box)) or min(box[2:]) < MIN_BOX_SIDE:
        raise _make_box_error(path, number, ", ".join(map(_format_value, box[:5])))
    return box


def _make_box_error(path: Path, number: Id, values: str) -> DataError:
    return DataError(
        f"{path}: annotation {number!r} has the bbox [{values}]; expected x, y and a width and height above 0, in "
        "pixels: fix it or set dataset.box to joints or image"
    )


def _is_coordinate(value: Any) -> bool:
    """Check that a value is a number of pixels; NaN is none."""
    return type(value) in (int, float) and -MAX_COORDINATE <= value <= MAX_COORDINATE


def _format_value(value: Any) -> str:
    return repr(value)[:40]


def _check_id(path: Path, what: str, key: str, value: Any) -> Id:
    """Return an id that is a 64-bit whole number or printable text."""
    if type(value) is int and abs(value) < 1 << 63:
        return value
    if isinstance(value, str):
        return _check_name(path, what, value)
    raise DataError(f"{path}: {what} has the {key} {_format_value(value)}; expected a whole number; {REMEDY}")


def _check_name(path: Path, what: str, value: Any) -> str:
    """Return printable text: control characters could command a terminal or confuse a file system."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_NAME_LENGTH:
        raise DataError(f"{path}: {what} is called {_format_value(value)}; expected printable text; {REMEDY}")
    return value


def _check_file_name(path: Path, number: Id, value: Any) -> str:
    """Return a relative path that stays in its folder, on any system."""
    name = _check_name(path, f"the file of image {number!r}", value)
    # Windows paths know both kinds of slash.
    parsed = PureWindowsPath(name)
    if parsed.anchor or ".." in parsed.parts or not parsed.name:
        raise DataError(
            f"{path}: image {number!r} has the file name {_format_value(name)}; expected a path inside the folder of "
            "images, without .. and no absolute one"
        )
    return name


def get_common_category(files: Sequence[tuple[Path, KeypointsFile]]) -> Category:
    """Return the category of all files.

    Raises:
        DataError: two files name different joints.
    """
    first_path, first_file = files[0]
    category = first_file.category
    for path, file in files[1:]:
        if file.category.joints != category.joints:
            raise DataError(
                f"{path} names other keypoints than {first_path}; files of one dataset share their skeleton"
            )
    return category
