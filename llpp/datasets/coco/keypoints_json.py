"""Read COCO keypoints JSON (cocodataset.org, "Data format") and check every value that is used.

What tools write differently is accepted as far as it has one meaning, and counted; see `Oddities`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llpp.datasets.coco.annotation_ids import AnnotationIds
from llpp.datasets.coco.categories import Category, Wanted, choose_categories
from llpp.datasets.coco.file_names import resolve_file_names
from llpp.datasets.coco.oddities import REMEDY, Oddities, format_value
from llpp.datasets.coco.values import Entry, Id, check_name, is_coordinate, parse_id, parse_size, simplify_id
from llpp.errors import DataError
from llpp.files import read_bytes

MAX_BYTES = 1 << 31  # of a file; COCO's largest has 0.5 GB
MIN_BOX_SIDE = 1e-3  # pixels; smaller sides vanish in single precision
VISIBLE = 2
NOT_LABELLED = (0.0, 0.0, 0)
Joint = tuple[float, float, int]  # x, y, COCO's visibility; x and y mean nothing where that is 0


@dataclass(frozen=True)
class Instance:
    """One annotated person with at least one labelled joint."""

    id: Id
    image: Id
    joints: list[Joint]
    box: list[float] | None  # x, y, width, height; only where boxes were asked for and the annotation has one


@dataclass(frozen=True)
class KeypointsFile:
    """The usable content of one file."""

    category: Category
    images: dict[Id, str]  # file names, relative to the folder of images, in the file's order
    sizes: dict[Id, tuple[int, int]]  # width and height of the images of which the file has both
    instances: list[Instance]  # in the file's order
    annotated: set[Id] = field(default_factory=set)  # images with any annotation of the category
    otherwise_annotated: set[Id] = field(default_factory=set)  # images with annotations of other categories
    annotation_count: int = 0  # of all categories
    left_out: Counter[str] = field(default_factory=Counter)  # annotations, by reason
    remarks: list[str] = field(default_factory=list)  # what was accepted, and what is odd about positions


def read_keypoints_file(
    path: Path, category: Wanted, boxes: bool, image_folder: Path, strict: bool = False
) -> KeypointsFile:
    """Read a file's annotations of one category, or of several as one; with `boxes`, their boxes, too.

    Raises:
        DataError: the file is missing, is no JSON, or has an entry with an impossible value, named by its id; with
            `strict`, also with one that COCO's format does not have.
        ConfigError: the category does not exist, or several have different keypoints and none is chosen.
    """
    content = _read_json(path)
    oddities = Oddities(path, strict)
    chosen = choose_categories(oddities, _get_entries(path, content, "categories"), category)
    names, sizes = _read_images(oddities, content)
    images = resolve_file_names(names, image_folder, oddities)
    entries = _get_entries(path, content, "annotations")
    result = KeypointsFile(chosen, images, sizes, [], annotation_count=len(entries))
    ids = AnnotationIds(oddities)
    for entry in entries:
        if _has_chosen_category(oddities, entry, result):
            _add_annotation(oddities, ids, entry, result, boxes)
    if boxes:
        _check_any_box(path, result.instances)
    result.remarks.extend(oddities.describe())
    unmeasured = len(images) - len(sizes)
    if unmeasured:
        result.remarks.append(
            f"{unmeasured} images have no width and height in {path.name}: labels outside of them are not noticed "
            "(llpp data measures the files), and an EXIF orientation is ignored unless dataset.orientation=upright"
        )
    return result


def _read_images(oddities: Oddities, content: Entry) -> tuple[dict[Id, str], dict[Id, tuple[int, int]]]:
    """Return the file name of each image by its id, and the sizes that the file has."""
    path = oddities.path
    names: dict[Id, str] = {}
    sizes: dict[Id, tuple[int, int]] = {}
    for entry in _get_entries(path, content, "images"):
        number = parse_id(oddities, "an image", "id", entry.get("id"))
        if number in names:
            raise DataError(f"{path}: image id {number!r} occurs more than once; {REMEDY}")
        names[number] = check_name(path, f"the file of image {number!r}", entry.get("file_name"))
        size = parse_size(entry)
        if size is not None:
            sizes[number] = size
    return names, sizes


def _has_chosen_category(oddities: Oddities, entry: Entry, result: KeypointsFile) -> bool:
    """Whether an annotation is of a chosen category; count it if it is of one that the file does not list."""
    number = simplify_id(entry.get("category_id"))
    is_id = isinstance(number, int | float | str)
    if is_id and number in result.category.positions:
        return True
    image = simplify_id(entry.get("image_id"))
    if isinstance(image, int | float | str) and image in result.images:
        result.otherwise_annotated.add(image)  # type: ignore[arg-type]  # equal to the id of an image
    if not is_id or number not in result.category.names:
        shown = format_value(entry.get("category_id"))
        listed = ", ".join(f"{known} {name}" for known, name in result.category.names.items())
        reason = f"of category {shown}, which is none of the file's ({listed}),"
        _leave_out(oddities, entry, reason, result)
    return False


def _leave_out(oddities: Oddities, entry: Entry, reason: str, result: KeypointsFile) -> None:
    """Count an annotation that names what the file does not list; DataError if the file has to keep to the format."""
    oddities.check_allowed(f"annotations {reason} are left out", f"annotation {format_value(entry.get('id'))}")
    result.left_out[reason] += 1


def _add_annotation(oddities: Oddities, ids: AnnotationIds, entry: Entry, result: KeypointsFile, boxes: bool) -> None:
    """Add an annotation to `result`, or count the reason why it is left out."""
    what = f"annotation {format_value(entry.get('id'))}"
    image = parse_id(oddities, what, "image_id", entry.get("image_id"))
    number = ids.assign(image, entry.get("id"))
    if image not in result.images:
        _leave_out(oddities, entry, "of images that the file does not list", result)
        return
    result.annotated.add(image)
    # Some tools write numbers in quotes, and "0" is true for Python.
    if simplify_id(entry.get("iscrowd")):
        result.left_out["of crowds"] += 1
        return
    positions = result.category.positions[simplify_id(entry["category_id"])]
    joints = _parse_joints(oddities, number, entry.get("keypoints"), len(positions))
    if not any(visible for _, _, visible in joints):
        result.left_out["without a labelled joint"] += 1
        return
    box = _parse_box(oddities, number, entry) if boxes else None
    joints = _place_joints(joints, positions, len(result.category.joints))
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


def _parse_joints(oddities: Oddities, number: Id, values: Any, count: int) -> list[Joint]:
    """Return x, y and visibility of each joint; nothing for an annotation without keypoints."""
    path = oddities.path
    if values is None or values == []:
        return []
    if _is_nested(values, count):
        oddities.accept("annotations with a list for each joint are read as one list", f"annotation {number!r}")
        values = [value for triple in values for value in triple]
    if not isinstance(values, list) or len(values) != 3 * count:
        length = f"{len(values)} numbers" if isinstance(values, list) else "none"
        raise DataError(f"{path}: keypoints of annotation {number!r}: {length}; expected 3 × {count}; {REMEDY}")
    joints: list[Joint] = []
    for x, y, visible in zip(values[::3], values[1::3], values[2::3], strict=True):
        # Files have millions of joints, and most of them are like this.
        is_code = type(visible) is int and 0 <= visible <= VISIBLE
        code = visible if is_code else _parse_visibility(oddities, number, visible)
        if not code:
            # The coordinates of joints that are not labelled may be anything.
            joints.append(NOT_LABELLED)
            continue
        if not (is_coordinate(x) and is_coordinate(y)):
            raise DataError(
                f"{path}: annotation {number!r} has a labelled joint at ({format_value(x)}, {format_value(y)}); "
                f"expected image pixels; {REMEDY}"
            )
        joints.append((x, y, code))
    return joints


def _is_nested(values: Any, count: int) -> bool:
    """Whether keypoints are a list of three values for each joint."""
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(isinstance(triple, list) and len(triple) == 3 for triple in values)


def _parse_visibility(oddities: Oddities, number: Id, value: Any) -> int:
    """Return COCO's code; a fraction, as of COCO-WholeBody, is a visible joint."""
    is_number = type(value) in (int, float)
    if is_number and value in (0, 1, 2):
        return int(value)
    what = f"annotation {number!r} has the visibility {format_value(value)}"
    if is_number and 0 < value < VISIBLE:
        oddities.accept("joints with a fraction as visibility are read as visible", what)
        return VISIBLE
    raise DataError(f"{oddities.path}: {what}; expected 0 (not labelled), 1 (occluded) or 2 (visible); {REMEDY}")


def _place_joints(joints: list[Joint], positions: Sequence[int], count: int) -> list[Joint]:
    """Put the joints of an annotation's category where they are among all `count` joints."""
    if len(positions) == count and list(positions) == list(range(count)):
        return joints
    placed: list[Joint] = [NOT_LABELLED] * count
    for joint, position in zip(joints, positions, strict=True):
        placed[position] = joint
    return placed


def _parse_box(oddities: Oddities, number: Id, entry: Entry) -> list[float] | None:
    """Return x, y, width and height, each side at least MIN_BOX_SIDE; None if that is not what the entry has."""
    box = entry.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(map(is_coordinate, box)) and min(box[2:]) >= MIN_BOX_SIDE:
        return box
    what = f"annotation {number!r} has the bbox {format_value(box)}"
    oddities.accept("annotations without a usable bbox are cropped around their labelled joints", what)
    return None


def _check_any_box(path: Path, instances: Sequence[Instance]) -> None:
    """Raise DataError if there are persons and none has a box."""
    if instances and all(instance.box is None for instance in instances):
        raise DataError(
            f"{path}: annotation {instances[0].id!r} has no usable bbox, and no other one has; expected x, y and a "
            "width and height above 0, in pixels: export them, or set dataset.box to joints or image"
        )


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
