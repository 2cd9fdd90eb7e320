"""COCO keypoints JSON, which many editors read and write (cocodataset.org, "Data format").

A file lists images and annotations, each of which is one person: x, y and v for each joint, in pixels. CVAT's export
"COCO Keypoints 1.0" is a zip with such files.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llpp.datasets.coco.oddities import format_value
from llpp.datasets.coco.values import is_coordinate, parse_size, simplify_id
from llpp.errors import DataError
from llpp.files import replace_text
from llpp.journal.answers import Box, PersonLabel, Point
from llpp.oracles.answer_files import (
    ZIP,
    describe_confidence,
    find_name_problem,
    is_text,
    list_members,
    parse_json,
    read_files,
)
from llpp.oracles.joint_hull import surround_joints
from llpp.oracles.tool import (
    AskedImage,
    Entry,
    FileContent,
    LabelBatch,
    LabellingTool,
    PersonEntry,
    ReadOptions,
    Rejection,
    Size,
    WriteOptions,
)

CATEGORY = 1  # CVAT takes 0 for no category
NAME = "person"
OCCLUDED = 1
VISIBLE = 2
# An object with one of these lists; Label Studio's tasks are in a list, and have "data".
START = re.compile(rb'^\s*\{.*"(images|annotations|categories)"\s*:\s*\[', re.DOTALL)
TASK = re.compile(rb'"data"\s*:\s*\{')
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class CocoTool(LabellingTool):
    """Writes the batch as a COCO file whose annotations are suggestions, and reads COCO files of any editor."""

    name = "coco"
    title = "COCO keypoints JSON"

    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """See `LabellingTool.write`."""
        images = []
        annotations: list[dict[str, Any]] = []
        shift = 0.5 if options.half_pixel else 0.0
        for number, asked in enumerate(batch.images, start=1):
            width, height = asked.size
            images.append({"id": number, "file_name": asked.name, "width": width, "height": height})
            for person in asked.suggested:
                annotation = _make_annotation(batch.skeleton.joints, asked, person, shift)
                numbers = {"id": len(annotations) + 1, "image_id": number, "category_id": CATEGORY}
                annotations.append({**numbers, **annotation})
        category = {
            "id": CATEGORY,
            "name": NAME,
            "supercategory": NAME,
            "keypoints": list(batch.skeleton.joints),
            "skeleton": [[start + 1, end + 1] for start, end in batch.skeleton.edges],
        }
        content = {
            "info": {"description": f"{batch.project}, round {batch.round}: suggestions to correct, not labels"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [category],
        }
        path = folder / f"to_label{options.part}.json"
        replace_text(path, json.dumps(content, indent=1, ensure_ascii=False))
        return [path]

    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """See `LabellingTool.describe_steps`."""
        return [
            f"Import {files[0].name} as COCO keypoints together with the folder images, both in {files[0].parent}, "
            "into a new project or task of your editor, since importing into one that holds work may replace it.",
            f"Correct or draw the joints of each image ({', '.join(batch.skeleton.joints)}) with v=2 for visible "
            "joints, v=1 for those that are covered but whose place is known, and v=0 for all others; an image that "
            "is listed without annotation counts as not looked at, unless you say label.empty=reviewed.",
            f"Export COCO keypoints JSON into {files[0].parent.parent / 'inbox'} and type the same command again; "
            "images that you have left out, added or not finished do no harm.",
        ]

    def recognises(self, path: Path, start: bytes) -> bool:
        """See `LabellingTool.recognises`."""
        if start.startswith(ZIP):
            names = list_members(path)
            return any(_is_coco_member(name) for name in names)
        start = start.removeprefix(BYTE_ORDER_MARK)
        return START.match(start) is not None and TASK.search(start) is None

    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """See `LabellingTool.read`."""
        entries: list[Entry] = []
        rejections: list[Rejection] = []
        remarks: list[str] = []
        for what, content in read_files(path, _is_coco_member):
            reader = _CocoReader(what, parse_json(what, content), options)
            reader.read()
            entries += reader.entries
            rejections += reader.rejections
            remarks += reader.remarks
        return FileContent(entries, rejections, remarks)


def _is_coco_member(name: str) -> bool:
    """Whether a file in a zip is COCO's: CVAT puts them into a folder `annotations`."""
    return name.startswith("annotations/") and name.endswith(".json")


def _make_annotation(joints: Sequence[str], asked: AskedImage, person: PersonLabel, shift: float) -> dict[str, Any]:
    keypoints: list[float] = []
    for joint in joints:
        if joint in person.joints:
            x, y, visible = person.joints[joint]
            keypoints += [x + shift, y + shift, visible]
        else:
            keypoints += [0, 0, 0]
    # The format has no annotation without a box; that of a person without joints is empty.
    x, y, width, height = person.box or surround_joints(person.joints) or (0.0, 0.0, 0.0, 0.0)
    annotation: dict[str, Any] = {
        "bbox": [x + shift, y + shift, width, height],
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [],
        "keypoints": keypoints,
        "num_keypoints": len(person.joints),
    }
    confidence = describe_confidence(asked.predicted_loss)
    if confidence is not None:
        annotation["score"] = confidence
    annotation["llpp"] = {"predicted_loss": asked.predicted_loss}
    return annotation


@dataclass
class _ListedImage:
    """What is known about one image while a file is read."""

    name: str
    size: Size | None
    persons: list[PersonEntry] = field(default_factory=list)
    is_annotated: bool = False  # also by crowds, and by boxes without joints
    is_spoiled: bool = False  # whether one of its annotations cannot be used


class _CocoReader:
    """Reads one file."""

    def __init__(self, what: str, content: Any, options: ReadOptions) -> None:
        self.what = what
        self.content = content
        self.options = options
        self.shift = -0.5 if options.half_pixel else 0.0
        self.images: dict[Any, _ListedImage] = {}  # by id
        self.by_name: dict[Any, _ListedImage] = {}
        self.joints: dict[Any, list[str]] = {}  # names, by the id of their category
        self.codes: set[int] = set()
        self.entries: list[Entry] = []
        self.rejections: list[Rejection] = []
        self.remarks: list[str] = []

    def read(self) -> None:
        """Fill `entries`, `rejections` and `remarks`."""
        if not isinstance(self.content, dict):
            raise DataError(
                f"{self.what} holds a {type(self.content).__name__}; expected an object with images, annotations and "
                "categories: export COCO keypoints again"
            )
        categories = self._get_list("categories")
        annotations = self._get_list("annotations")
        self._check_has_joints(categories, annotations)
        self._read_categories(categories)
        self._read_images()
        for annotation in annotations:
            self._read_annotation(annotation)
        self._make_entries()
        if self.options.visibility == "coco" and OCCLUDED in self.codes and VISIBLE not in self.codes:
            self.remarks.append(
                f"{self.what}: no joint has v=2, so that all count as occluded; if its tool writes 1 for visible "
                "joints, set label.visibility=binary"
            )

    def _get_list(self, key: str) -> list[Any]:
        values = self.content.get(key, [])
        if not isinstance(values, list):
            raise DataError(f"{self.what}: {key!r} is no list; expected COCO keypoints JSON: export it again")
        return values

    def _check_has_joints(self, categories: Sequence[Any], annotations: Sequence[Any]) -> None:
        """Raise DataError for what CVAT writes of labels that are no skeletons: it leaves them out without a word."""
        with_joints = [one for one in categories if isinstance(one, dict) and one.get("keypoints")]
        if categories and not annotations and not with_joints:
            raise DataError(
                f"{self.what} has {len(categories)} categories without keypoints and no annotation at all, which is "
                "what CVAT writes if the labels are of type points; export 'CVAT for images 1.1' instead, or make "
                "the label a skeleton"
            )

    def _reject(self, entry: str, reason: str) -> None:
        self.rejections.append(Rejection(entry, reason))

    def _read_categories(self, categories: Sequence[Any]) -> None:
        for category in categories:
            if not isinstance(category, dict):
                self._reject(f"category {format_value(category)}", "expected an object with id, name and keypoints")
                continue
            number = simplify_id(category.get("id"))
            names = category.get("keypoints")
            if not names:
                continue  # boxes and regions of other things
            what = f"category {format_value(category.get('name'))}"
            if not _is_id(number) or number in self.joints:
                self._reject(what, f"its id is {format_value(number)}; expected a number of its own")
            elif not isinstance(names, list) or not all(is_text(name) for name in names):
                self._reject(what, "its keypoints are no list of names; fix them, or export again")
            elif len(set(names)) < len(names):
                self._reject(what, "it names a keypoint twice; give each joint a name of its own")
            else:
                self.joints[number] = names

    def _read_images(self) -> None:
        for image in self._get_list("images"):
            if not isinstance(image, dict):
                self._reject(f"image {format_value(image)}", "expected an object with id and file_name")
                continue
            number = simplify_id(image.get("id"))
            name: Any = image.get("file_name")
            what = f"image {format_value(name)}"
            problem = find_name_problem(name)
            if problem:
                self._reject(what, problem)
            elif not _is_id(number):
                self._reject(what, f"its id is {format_value(number)}; expected a whole number")
            elif number not in self.images:
                # An image that is listed twice, with two ids, is one.
                listed = self.by_name.setdefault(name, _ListedImage(name, parse_size(image)))
                self.images[number] = listed
            elif self.images[number].name != name:
                self._reject(what, f"its id {number!r} is that of {self.images[number].name!r}, too")
                # Whose the annotations are cannot be known.
                self.images[number].is_spoiled = True

    def _read_annotation(self, annotation: Any) -> None:
        if not isinstance(annotation, dict):
            self._reject(f"annotation {format_value(annotation)}", "expected an object with image_id and keypoints")
            return
        what = f"annotation {format_value(annotation.get('id'))}"
        number = simplify_id(annotation.get("image_id"))
        image = self.images.get(number) if _is_id(number) else None
        if image is None:
            self._reject(what, f"its image {format_value(number)} is not listed; add it to images, or leave it out")
            return
        image.is_annotated = True
        # Some tools write numbers in quotes, and "0" is true for Python.
        if simplify_id(annotation.get("iscrowd")) or not annotation.get("keypoints"):
            return
        category = simplify_id(annotation.get("category_id"))
        names = self.joints.get(category) if _is_id(category) else None
        problem = ""
        joints: dict[str, Point] = {}
        if names is None:
            problem = f"its category {format_value(category)} has no keypoints; list their names there"
        else:
            joints, problem = self._parse_joints(names, annotation["keypoints"])
        if problem:
            self._reject(what, f"{problem} (of image {image.name!r})")
            image.is_spoiled = True
        elif joints:
            person = PersonEntry(joints, self._parse_box(annotation.get("bbox")))
            # The same annotation twice is one that was merged twice, not two persons.
            if person not in image.persons:
                image.persons.append(person)

    def _parse_joints(self, names: Sequence[str], values: Any) -> tuple[dict[str, Point], str]:
        """Return the labelled joints, and what is wrong with them."""
        count = len(names)
        if _is_nested(values, count):
            values = [value for triple in values for value in triple]
        if not isinstance(values, list) or len(values) != 3 * count:
            length = f"{len(values)} numbers" if isinstance(values, list) else "none"
            return {}, f"its keypoints are {length}; expected 3 × {count}"
        joints: dict[str, Point] = {}
        codes: set[int] = set()
        for name, x, y, visible in zip(names, values[::3], values[1::3], values[2::3], strict=True):
            if type(visible) not in (int, float) or not 0 <= visible <= VISIBLE:
                return {}, f"joint {name!r} has the visibility {format_value(visible)}; expected 0, 1 or 2"
            if not visible:
                continue  # the coordinates of joints that are not labelled may be anything
            if not (is_coordinate(x) and is_coordinate(y)):
                place = f"({format_value(x)}, {format_value(y)})"
                return {}, f"joint {name!r} is at {place}; expected pixels of the image"
            code = OCCLUDED if visible == OCCLUDED else VISIBLE
            codes.add(code)
            is_visible = code == VISIBLE or self.options.visibility == "binary"
            joints[name] = (x + self.shift, y + self.shift, VISIBLE if is_visible else OCCLUDED)
        self.codes |= codes
        return joints, ""

    def _parse_box(self, box: Any) -> Box | None:
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_coordinate, box)):
            return None
        x, y, width, height = box
        if width <= 0 or height <= 0:
            return None
        return x + self.shift, y + self.shift, width, height

    def _make_entries(self) -> None:
        for image in self.by_name.values():
            # What is left of an image would be taken for all that is in it.
            if image.is_spoiled:
                continue
            status = "open"
            if image.persons:
                status = "labelled"
            elif self.options.empty == "reviewed" and not image.is_annotated:
                status = "empty"
            entry = Entry(names=(image.name,), status=status, persons=tuple(image.persons), size=image.size)
            self.entries.append(entry)


def _is_id(value: Any) -> bool:
    """Whether a value can be an id; True is none, although it is equal to 1."""
    return type(value) in (int, float, str)


def _is_nested(values: Any, count: int) -> bool:
    """Whether keypoints are a list of three values for each joint."""
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(isinstance(triple, list) and len(triple) == 3 for triple in values)
