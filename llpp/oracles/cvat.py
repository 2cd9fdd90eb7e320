"""CVAT: "CVAT for images 1.1", an XML file with an element for each image and a skeleton for each person.

CVAT keeps where a point comes from as its `source`: file as long as it is as imported, manual once a person has moved
it. It has no mark for images that are done, so that the labels which are written have two tags: done and skip.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from llpp.datasets.coco.oddities import format_value
from llpp.datasets.coco.values import MAX_COORDINATE
from llpp.datasets.pose import Skeleton
from llpp.errors import DataError
from llpp.files import replace_text
from llpp.journal.answers import Box, PersonLabel, Point
from llpp.oracles.answer_files import (
    ZIP,
    find_name_problem,
    is_text,
    list_members,
    parse_time,
    parse_xml,
    read_files,
)
from llpp.oracles.tool import (
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

PERSON = "person"  # label of the skeleton
DONE = "done"
SKIP = "skip"
MAX_SHOWN = 5  # names in a message
IMPORTED = ("file", "auto")  # sources of what nobody has changed
START = re.compile(rb"^(\xef\xbb\xbf)?\s*<.*<annotations[\s/>]|^(\xef\xbb\xbf)?\s*<annotations[\s/>]", re.DOTALL)


class CvatTool(LabellingTool):
    """Writes "CVAT for images 1.1" and the labels to paste into a new task, and reads what CVAT exports in it."""

    name = "cvat"
    title = "CVAT"
    dates_files = True

    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """See `LabellingTool.write`."""
        root = ElementTree.Element("annotations")
        ElementTree.SubElement(root, "version").text = "1.1"
        # CVAT sorts the images of a task by their names, and counts them from 0.
        for number, asked in enumerate(sorted(batch.images, key=lambda asked: asked.name)):
            width, height = asked.size
            facts = {"id": str(number), "name": asked.name, "width": str(width), "height": str(height)}
            image = ElementTree.SubElement(root, "image", facts)
            for person in asked.suggested:
                _add_skeleton(image, batch.skeleton.joints, person, 0.5 if options.half_pixel else 0.0)
        ElementTree.indent(root)
        path = folder / f"to_label{options.part}.xml"
        replace_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n")
        labels = folder / "cvat_labels.json"
        replace_text(labels, json.dumps(_describe_labels(batch.skeleton), indent=1, ensure_ascii=False))
        return [path, labels]

    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """See `LabellingTool.describe_steps`."""
        task, labels = files
        return [
            f"Make a new task in CVAT, paste {labels.name} under Constructor, Raw, choose all files of the folder "
            f"images, both in {task.parent}, and upload {task.name} under Actions, Upload annotations, as 'CVAT "
            "1.1'; use a new task for each batch and never upload into one that holds work, since CVAT replaces it.",
            "Move the joints of each skeleton, or draw a new one; set a joint to 'occluded' if it is covered but its "
            "place is known and to 'outside' if it is not, and give each image that is finished the tag done (alone, "
            "if nobody is there) or the tag skip: images where nothing is moved and no tag is set count as not done.",
            "Export the task under Actions, Export task dataset, as 'CVAT for images 1.1', put the zip or the XML "
            f"file into {task.parent.parent / 'inbox'} and type the same command again; the task may be half done.",
        ]

    def recognises(self, path: Path, start: bytes) -> bool:
        """See `LabellingTool.recognises`."""
        if start.startswith(ZIP):
            names = list_members(path)
            return any(_is_annotations_member(name) for name in names)
        return START.match(start) is not None

    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """See `LabellingTool.read`."""
        entries: list[Entry] = []
        rejections: list[Rejection] = []
        remarks: list[str] = []
        for what, content in read_files(path, _is_annotations_member):
            root = parse_xml(what, content)
            _check_is_of_images(what, root)
            answered_at = parse_time(root.findtext("meta/dumped"))
            outside = 0
            unknown: set[str] = set()
            for element in root.findall("image"):
                image = _ImageReader(element, options)
                found = image.read(answered_at)
                rejections += image.rejections
                unknown |= image.unknown
                if found is not None:
                    entries.append(found)
                    outside += _count_outside(found)
            if outside:
                remarks.append(
                    f"{what}: {outside} joints are outside of their images, where CVAT lets skeletons reach; "
                    "they are kept: set joints that cannot be seen to 'outside' in CVAT if that is not meant"
                )
            if unknown:
                names = ", ".join(format_value(name) for name in sorted(unknown)[:MAX_SHOWN])
                remarks.append(
                    f"{what}: points with labels that are no joints of this project are left out: {names}; expected "
                    f"{', '.join(options.joints)}"
                )
        return FileContent(entries, rejections, remarks)


def _is_annotations_member(name: str) -> bool:
    return name.lower().split("/")[-1] == "annotations.xml"


def _add_skeleton(image: ElementTree.Element, joints: Sequence[str], person: PersonLabel, shift: float) -> None:
    skeleton = ElementTree.SubElement(image, "skeleton", {"label": PERSON, "source": "auto", "z_order": "0"})
    for joint in joints:
        x, y, visible = person.joints.get(joint, (0.0, 0.0, 0))
        facts = {
            "label": joint,
            "source": "auto",
            "outside": "0" if visible else "1",
            "occluded": "1" if visible == 1 else "0",
            "points": f"{x + shift:.2f},{y + shift:.2f}" if visible else "0.00,0.00",
        }
        ElementTree.SubElement(skeleton, "points", facts)


def _describe_labels(skeleton: Skeleton) -> list[dict[str, Any]]:
    """Return what CVAT's constructor of labels takes: a skeleton with its picture, and the two tags."""
    places = []
    count = len(skeleton.joints)
    for position in range(count):
        # From the top, clockwise; one draws a person by dragging a rectangle, and moves each joint then.
        angle = 2 * math.pi * position / count
        places.append((50 + 40 * math.sin(angle), 50 - 40 * math.cos(angle)))
    parts = []
    for start, end in skeleton.edges:
        (x1, y1), (x2, y2) = places[start], places[end]
        parts.append(
            f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="black" data-type="edge" '
            f'data-node-from="{start + 1}" data-node-to="{end + 1}" stroke-width="0.5"></line>'
        )
    sublabels = []
    for number, (joint, (x, y)) in enumerate(zip(skeleton.joints, places, strict=True), start=1):
        parts.append(
            f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{x:.2f}" cy="{y:.2f}" stroke-width="0.1" '
            f'data-type="element node" data-element-id="{number}" data-node-id="{number}" '
            f"data-label-name={quoteattr(joint)}></circle>"
        )
        sublabels.append({"name": joint, "type": "points", "attributes": []})
    person = {"name": PERSON, "type": "skeleton", "attributes": [], "svg": "".join(parts), "sublabels": sublabels}
    done = {"name": DONE, "type": "tag", "attributes": []}
    skip = {"name": SKIP, "type": "tag", "attributes": []}
    return [person, done, skip]


def _check_is_of_images(what: str, root: ElementTree.Element) -> None:
    """Raise DataError unless an XML file is in the format for images."""
    if root.tag != "annotations":
        raise DataError(
            f"{what} has the element {root.tag[:50]!r}; expected annotations: export 'CVAT for images 1.1'"
        )
    if root.find("track") is not None:
        raise DataError(
            f"{what} holds tracks, which have joints at some frames only; export as 'CVAT for images 1.1'"
        )


def _count_outside(entry: Entry) -> int:
    """Count joints that are more than a pixel outside of their image."""
    if entry.size is None:
        return 0
    width, height = entry.size
    count = 0
    for person in entry.persons:
        for x, y, _ in person.joints.values():
            count += not (-1 <= x <= width and -1 <= y <= height)
    return count


@dataclass
class _ImageReader:
    """Reads one image."""

    element: ElementTree.Element
    options: ReadOptions
    rejections: list[Rejection] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)  # labels of points that are no joints

    def read(self, answered_at: str) -> Entry | None:
        """Return what the file says about the image; None if that cannot be used."""
        name = self.element.get("name")
        problem = find_name_problem(name)
        if problem:
            self._reject(problem)
            return None
        tags = {tag.get("label") for tag in self.element.findall("tag")}
        if DONE in tags and SKIP in tags:
            self._reject(f"it has both tags, {DONE} and {SKIP}; remove one of them")
            return None
        if SKIP in tags:
            return self._make_entry("skipped", (), answered_at, False)
        persons = self._read_persons()
        if persons is None:
            return None
        is_done = DONE in tags
        if persons:
            return self._make_entry("labelled", persons, answered_at, is_done)
        return self._make_entry("empty" if is_done else "open", (), answered_at, is_done)

    def _make_entry(self, status: str, persons: Sequence[PersonEntry], answered_at: str, is_done: bool) -> Entry:
        is_untouched = status == "labelled" and all(source in IMPORTED for source in self.sources)
        return Entry(
            names=(self.element.get("name", ""),),
            status=status,
            persons=tuple(persons),
            size=self._parse_size(),
            untouched=is_untouched,
            confirmed=is_done,
            answered_at=answered_at,
        )

    def _reject(self, reason: str) -> None:
        self.rejections.append(Rejection(f"image {format_value(self.element.get('name'))}", reason))

    def _parse_size(self) -> Size | None:
        width = _parse_number(self.element.get("width"))
        height = _parse_number(self.element.get("height"))
        if width is None or height is None or width < 1 or height < 1:
            return None
        return round(width), round(height)

    def _read_persons(self) -> list[PersonEntry] | None:
        """Return the persons with joints; None, after a rejection, if one of them cannot be used."""
        boxes = self._read_boxes()
        skeletons = self.element.findall("skeleton")
        persons = []
        for skeleton in skeletons:
            joints = self._read_joints(skeleton.findall("points"))
            if joints is None:
                return None
            self.sources.add(skeleton.get("source", "manual"))
            person = PersonEntry(joints, boxes.get(skeleton.get("group_id", "0")))
            # The same skeleton twice comes from uploading twice.
            if joints and person not in persons:
                persons.append(person)
        loose = self._read_loose_points(boxes)
        if loose is None:
            return None
        return persons + loose

    def _read_boxes(self) -> dict[str, Box]:
        """Return boxes by the group that links them to a skeleton; 0 is no group."""
        boxes = {}
        for element in self.element.findall("box"):
            corners = [_parse_number(element.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")]
            group = element.get("group_id", "0")
            if group == "0" or None in corners:
                continue
            left, top, right, bottom = (corner or 0.0 for corner in corners)
            if right > left and bottom > top:
                shift = self._get_shift()
                boxes[group] = (left + shift, top + shift, right - left, bottom - top)
        return boxes

    def _read_loose_points(self, boxes: dict[str, Box]) -> list[PersonEntry] | None:
        """Return persons that are labelled by points instead of skeletons, one label for each joint."""
        groups: dict[str, list[ElementTree.Element]] = {}
        for element in self.element.findall("points"):
            label = element.get("label", "")
            if label in self.options.joints:
                groups.setdefault(element.get("group_id", "0"), []).append(element)
            else:
                self.unknown.add(label)
        persons = []
        for group, elements in groups.items():
            joints = self._read_joints(elements)
            if joints is None:
                return None
            if joints:
                persons.append(PersonEntry(joints, boxes.get(group)))
        return persons

    def _read_joints(self, elements: Sequence[ElementTree.Element]) -> dict[str, Point] | None:
        """Return the labelled joints; None, after a rejection, if they cannot be used."""
        joints: dict[str, Point] = {}
        labels = Counter(element.get("label") for element in elements)
        for label, count in labels.items():
            if count > 1 or not is_text(label):
                self._reject(
                    f"the joint {format_value(label)} occurs {count} times in one person; label persons by "
                    "skeletons, or group the points of each"
                )
                return None
        for element in elements:
            self.sources.add(element.get("source", "manual"))
            if element.get("outside", "0") == "1":
                continue
            place = [_parse_number(text) for text in element.get("points", "").split(",")]
            if len(place) != 2 or place[0] is None or place[1] is None:
                shown = format_value(element.get("points"))
                self._reject(f"the joint {element.get('label')!r} is at {shown}; expected x,y in pixels")
                return None
            shift = self._get_shift()
            visible = 1 if element.get("occluded", "0") == "1" else 2
            joints[element.get("label", "")] = (place[0] + shift, place[1] + shift, visible)
        return joints

    def _get_shift(self) -> float:
        return -0.5 if self.options.half_pixel else 0.0


def _parse_number(text: str | None) -> float | None:
    """Return a number of pixels; None for all else."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if -MAX_COORDINATE <= number <= MAX_COORDINATE else None
