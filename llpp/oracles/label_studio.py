"""Label Studio: tasks with predictions to import, and its raw JSON export.

A task is one image, an annotation is what one person says about it, and its `result` is a list of regions: points,
boxes, choices about a point (with its id), and relations between two regions. Places are percent of the image. Only
the raw JSON has all of that: the exports as COCO and YOLO leave out who, when, what was skipped and what was empty.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

from llpp.datasets.coco.oddities import format_value
from llpp.datasets.coco.values import is_coordinate, parse_size
from llpp.errors import DataError
from llpp.files import replace_text
from llpp.journal.answers import Box, PersonLabel, Point
from llpp.oracles.answer_files import (
    describe_confidence,
    find_name_problem,
    is_text,
    parse_json,
    parse_seconds,
    parse_time,
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

IMAGE = "image"  # names of the tags in the labelling interface
BOX = "person"
POINT = "joint"
CHOICE = "seen"
OCCLUDED = "occluded"
POINT_SIZE = 0.6  # percent of the image's width, as points are drawn
SAME = 0.01  # percent of the image; a point that is moved by less has not been moved
# A list of objects, the first of which has one of these.
START = re.compile(
    rb'^\s*\[\s*(\]\s*$|\{.*"(data|annotations|completions|predictions|annotation_id)"\s*:)', re.DOTALL
)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # how Label Studio calls images that were uploaded
Region = Mapping[str, Any]


class LabelStudioTool(LabellingTool):
    """Writes tasks, predictions and the labelling interface, and reads the raw JSON export."""

    name = "label_studio"
    title = "Label Studio"

    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """See `LabellingTool.write`."""
        tasks = [_make_task(batch, asked, folder, options) for asked in batch.images]
        path = folder / f"to_label{options.part}.json"
        replace_text(path, json.dumps(tasks, indent=1, ensure_ascii=False))
        interface = folder / "label_config.xml"
        replace_text(interface, _describe_interface(batch.skeleton.joints))
        return [path, interface]

    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """See `LabellingTool.describe_steps`."""
        tasks, interface = (path.absolute() for path in files)
        project = tasks.parent.parent
        root = shlex.quote(str(project.parent))
        return [
            f"Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}, make a project, paste {interface.name} into Settings, "
            f"Labeling Interface, Code, save a source storage of type Local files with the path {project} under "
            "Settings, Cloud Storage (save it, do not sync it: that would add each image again) and import "
            f"{tasks.name}; both files are in {tasks.parent}.",
            "Turn on Settings, Annotation, 'Use predictions to prelabel tasks', which shows predictions to "
            "annotators, and press Label All Tasks; then drag or draw the joints of each image, choose 'occluded' "
            "for a joint that is covered but whose place is known, leave out what cannot be seen, and press Submit, "
            "also if nobody is there, or Skip.",
            f"Export the project as JSON (not JSON-MIN, COCO or YOLO, which leave things out), put the file into "
            f"{project / 'inbox'} and type the same command again; the project may be half done.",
        ]

    def recognises(self, path: Path, start: bytes) -> bool:
        """See `LabellingTool.recognises`."""
        return START.match(start.removeprefix(BYTE_ORDER_MARK)) is not None

    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """See `LabellingTool.read`."""
        entries: list[Entry] = []
        rejections: list[Rejection] = []
        for what, content in read_files(path, lambda name: name.lower().endswith(".json")):
            tasks = parse_json(what, content)
            _check_is_export(what, tasks)
            for position, task in enumerate(tasks):
                reader = _TaskReader(task, position, options)
                reader.read()
                entries += reader.entries
                rejections += reader.rejections
        remarks = []
        without_size = sum(entry.relative for entry in entries)
        if without_size and options.half_pixel:
            remarks.append(
                f"{path}: {without_size} annotations do not have the size of their image, so that "
                "label.half_pixel is not applied to them"
            )
        return FileContent(entries, rejections, remarks)


def _make_task(batch: LabelBatch, asked: AskedImage, folder: Path, options: WriteOptions) -> dict[str, Any]:
    # Label Studio shows local files below its document root, which has to be above the folder of its storage.
    place = f"{folder.parent.name}/{folder.name}/images/{asked.name}"
    data: dict[str, Any] = {
        "image": f"/data/local-files/?d={quote(place)}",
        "sample_id": asked.image,
        "llpp_round": batch.round,
        "llpp_rank": asked.rank,
    }
    task: dict[str, Any] = {"data": data}
    if not asked.suggested:
        return task
    prediction: dict[str, Any] = {"model_version": f"llpp round {batch.round}"}
    confidence = describe_confidence(asked.predicted_loss)
    if confidence is not None:
        data["llpp_predicted_loss"] = asked.predicted_loss
        prediction["score"] = confidence
    shift = 0.5 if options.half_pixel else 0.0
    points: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, person in enumerate(asked.suggested):
        box = _choose_box(asked, person)
        points += _make_points(batch.skeleton.joints, asked, person, f"p{number}", shift, has_box=box is not None)
        if box is not None:
            boxes.append(_make_box(asked, box, f"p{number}", shift))
    # The first region is on top: a box before a point would be dragged instead of it.
    prediction["result"] = points + boxes
    task["predictions"] = [prediction]
    return task


def _choose_box(asked: AskedImage, person: PersonLabel) -> Box | None:
    if person.box is None and len(asked.suggested) > 1:
        # Without boxes Label Studio cannot say which points belong together.
        return surround_joints(person.joints)
    return person.box


def _describe_image(asked: AskedImage) -> dict[str, Any]:
    """Return what each region says about its image."""
    width, height = asked.size
    return {"to_name": IMAGE, "original_width": width, "original_height": height, "image_rotation": 0}


def _make_box(asked: AskedImage, box: Box, name: str, shift: float) -> dict[str, Any]:
    width, height = asked.size
    left, top, box_width, box_height = box
    place = {
        "x": 100 * (left + shift) / width,
        "y": 100 * (top + shift) / height,
        "width": 100 * box_width / width,
        "height": 100 * box_height / height,
        "rotation": 0,
    }
    return {
        "id": name,
        **_describe_image(asked),
        "type": "rectanglelabels",
        "from_name": BOX,
        "value": {**place, "rectanglelabels": [BOX]},
    }


def _make_points(
    joints: Sequence[str], asked: AskedImage, person: PersonLabel, name: str, shift: float, has_box: bool
) -> list[dict[str, Any]]:
    """Make the regions of one person's joints, whose ids begin with that of its box."""
    width, height = asked.size
    regions: list[dict[str, Any]] = []
    for position, joint in enumerate(joints):
        if joint not in person.joints:
            continue
        x, y, visible = person.joints[joint]
        place = {"x": 100 * (x + shift) / width, "y": 100 * (y + shift) / height, "width": POINT_SIZE}
        facts: dict[str, Any] = {"id": f"{name}_{position}", **_describe_image(asked)}
        if has_box:
            facts["parentID"] = name
        value = {**place, "keypointlabels": [joint]}
        regions.append({**facts, "type": "keypointlabels", "from_name": POINT, "value": value})
        if visible == 1:
            # A choice about a point is a region with the point's id and place.
            value = {**place, "choices": [OCCLUDED]}
            regions.append({**facts, "type": "choices", "from_name": CHOICE, "value": value})
    return regions


def _describe_interface(joints: Sequence[str]) -> str:
    """Return the labelling interface: a box for each person, a label for each joint, and whether it is occluded."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=IMAGE, value="$image", zoom="true")
    boxes = ElementTree.SubElement(view, "RectangleLabels", name=BOX, toName=IMAGE)
    ElementTree.SubElement(boxes, "Label", value=BOX)
    points = ElementTree.SubElement(view, "KeyPointLabels", name=POINT, toName=IMAGE)
    for position, joint in enumerate(joints):
        # model_index is the order in which Label Studio's own YOLO export lists joints.
        ElementTree.SubElement(points, "Label", value=joint, model_index=str(position))
    choices = ElementTree.SubElement(view, "Choices", name=CHOICE, toName=IMAGE, perRegion="true", whenTagName=POINT)
    # More than one may be chosen, so that the only one can be taken back.
    choices.set("choice", "multiple")
    ElementTree.SubElement(choices, "Choice", value=OCCLUDED)
    ElementTree.indent(view)
    return ElementTree.tostring(view, "unicode") + "\n"


def _check_is_export(what: str, tasks: Any) -> None:
    """Raise DataError unless a file is a list; or if it is another one of Label Studio's exports."""
    if not isinstance(tasks, list):
        raise DataError(
            f"{what} holds a {type(tasks).__name__}; expected a list of tasks: export the project as JSON"
        )
    if any(isinstance(task, dict) and "annotation_id" in task and "data" not in task for task in tasks):
        raise DataError(
            f"{what} is Label Studio's JSON-MIN, which says less than is needed; export the project as JSON"
        )


@dataclass
class _Shape:
    """A person as regions describe it, in percent of the image."""

    joints: dict[str, Point]
    box: Box | None = None


class _UnusableError(Exception):
    """An annotation that cannot be used; its text is the reason."""


class _TaskReader:
    """Reads one task."""

    def __init__(self, task: Any, position: int, options: ReadOptions) -> None:
        self.task = task
        self.what = f"task {position + 1}"
        self.options = options
        self.entries: list[Entry] = []
        self.rejections: list[Rejection] = []

    def read(self) -> None:
        """Fill `entries` and `rejections`."""
        if not isinstance(self.task, dict) or not isinstance(self.task.get("data"), dict):
            self._reject(self.what, "expected an object with data and annotations; export the project as JSON")
            return
        data = self.task["data"]
        if "id" in self.task:
            self.what = f"task {format_value(self.task['id'])}"
        image = data.get("sample_id", "")
        if not isinstance(image, str) or (image and not is_text(image)):
            self._reject(
                self.what, f"its sample_id is {format_value(image)}; expected the text that llpp has written"
            )
            return
        names = _find_names(data)
        for name in [image, *names]:
            problem = find_name_problem(name) if name else ""
            if problem:
                self._reject(self.what, problem)
                return
        if not names and not image:
            self._reject(self.what, "its data names no image; expected a path or address under data.image")
            return
        # Older exports have another name for annotations.
        annotations = self.task.get("annotations", self.task.get("completions"))
        if annotations is None:
            annotations = []
        if not isinstance(annotations, list):
            self._reject(self.what, f"its annotations are {format_value(annotations)}; expected a list")
            return
        if not annotations:
            self.entries.append(Entry(names=names, status="open", image=image))
        for annotation in annotations:
            self._read_annotation(annotation, names, image)

    def _reject(self, entry: str, reason: str) -> None:
        self.rejections.append(Rejection(entry, reason))

    def _read_annotation(self, annotation: Any, names: Sequence[str], image: str) -> None:
        if not isinstance(annotation, dict):
            self._reject(self.what, f"an annotation is {format_value(annotation)}; expected an object with a result")
            return
        # The number of an annotation is unique in one installation, the other id everywhere.
        number = annotation.get("unique_id") or annotation.get("id")
        entry = str(number) if isinstance(number, int | str) and is_text(str(number)) else ""
        what = f"{self.what}, annotation {format_value(annotation.get('id'))}"
        try:
            made = self._make_entry(annotation, names, image, entry)
        except _UnusableError as error:
            self._reject(what, str(error))
            return
        self.entries.append(made)

    def _make_entry(self, annotation: Region, names: Sequence[str], image: str, entry: str) -> Entry:
        status = "skipped"
        persons: list[PersonEntry] = []
        size: Size | None = None
        is_relative = False
        is_untouched = False
        if annotation.get("was_cancelled") is not True:
            regions = _check_regions(annotation.get("result"))
            shapes = _group_regions(regions)
            if regions and not shapes:
                raise _UnusableError(
                    "it has boxes or choices but no joint; draw its joints, or delete all regions if nobody is there"
                )
            status = "labelled" if shapes else "empty"
            size = _find_size(regions)
            is_relative = bool(shapes) and size is None
            persons = [self._scale(shape, size) for shape in shapes]
            is_untouched = bool(shapes) and self._is_untouched(annotation, shapes, image)
        return Entry(
            names=names,
            status=status,
            persons=tuple(persons),
            image=image,
            size=size,
            relative=is_relative,
            untouched=is_untouched,
            annotator=_name_annotator(annotation.get("completed_by")),
            answered_at=parse_time(annotation.get("updated_at")) or parse_time(annotation.get("created_at")),
            seconds=parse_seconds(annotation.get("lead_time")),
            entry=entry,
        )

    def _is_untouched(self, annotation: Region, shapes: Sequence[_Shape], image: str) -> bool:
        """Whether an annotation is a copy of the prediction that it was made from.

        Label Studio says of each region where it comes from, but not that others have been removed, and it says
        "changed" also of points that were only clicked on.
        """
        # An export lists the task's predictions as numbers, and each annotation has the one that it was made from.
        listed = self.task.get("predictions")
        predictions = listed if isinstance(listed, list) else []
        known = [one for one in [annotation.get("prediction"), *predictions] if isinstance(one, dict) and one]
        for prediction in known:
            try:
                suggested = _group_regions(_check_regions(prediction.get("result")))
            except _UnusableError:
                continue
            if _are_same(shapes, suggested):
                return True
        if known or image:
            # Of llpp's own tasks it is known what they have suggested.
            return False
        regions = annotation["result"]
        return all(region.get("origin") == "prediction" for region in regions if region.get("type") != "relation")

    def _scale(self, shape: _Shape, size: Size | None) -> PersonEntry:
        """Turn percent into pixels, or into shares where the size is not known."""
        width, height = size or (1, 1)
        # The half pixel of an image whose size is not known cannot be taken off, which is remarked upon.
        shift = -0.5 if self.options.half_pixel and size is not None else 0.0
        joints = {}
        for name, (x, y, visible) in shape.joints.items():
            joints[name] = (x / 100 * width + shift, y / 100 * height + shift, visible)
        box: Box | None = None
        if shape.box is not None:
            left, top, box_width, box_height = shape.box
            corner = (left / 100 * width + shift, top / 100 * height + shift)
            box = (*corner, box_width / 100 * width, box_height / 100 * height)
        return PersonEntry(joints, box)


def _find_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a task's image: its path, and its file name, without what an upload puts before it."""
    address = data.get("image")
    if not isinstance(address, str):
        # Some projects call their images otherwise: the first value that is an address is taken.
        texts = [value for value in data.values() if isinstance(value, str) and "/" in value]
        address = texts[0] if texts else ""
    if not address:
        return ()
    try:
        parts = urlsplit(address)
    except ValueError:
        return ()
    local = parse_qs(parts.query).get("d", [])
    path = local[0] if local else unquote(parts.path)
    path = path.replace("\\", "/").lstrip("/")
    names = [path] if path else []
    last = path.rpartition("/")[2]
    uploaded = UPLOADED.fullmatch(last)
    if uploaded is not None:
        names.append(uploaded[1])
    if last:
        names.append(last)
    return tuple(dict.fromkeys(names))


def _check_regions(result: Any) -> list[Region]:
    """Return the regions of an annotation or a prediction."""
    if not isinstance(result, list) or not all(isinstance(region, dict) for region in result):
        raise _UnusableError(f"its result is {format_value(result)}; expected a list of regions: export it again")
    return result


def _find_size(regions: Sequence[Region]) -> Size | None:
    """Return the size of the image that regions were drawn on; None if they do not say it."""
    sizes = set()
    for region in regions:
        if region.get("image_rotation"):
            raise _UnusableError("its image was turned while it was labelled; turn it back in Label Studio")
        size = parse_size({"width": region.get("original_width"), "height": region.get("original_height")})
        if size is not None:
            sizes.add(size)
    if len(sizes) > 1:
        raise _UnusableError("its regions are on images of different sizes; label the image again")
    return sizes.pop() if sizes else None


def _name_annotator(completed_by: Any) -> str:
    """Return a name for an annotator, who is a number or an object."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    if type(completed_by) is int or is_text(completed_by):
        return format_value(completed_by).strip("'")
    return ""


def _are_same(first: Sequence[_Shape], second: Sequence[_Shape]) -> bool:
    """Whether two sets of persons have the same joints at the same places, in any order."""
    left = list(second)
    for shape in first:
        same = [other for other in left if _is_same_shape(shape, other)]
        if not same:
            return False
        left.remove(same[0])
    return not left


def _is_same_shape(first: _Shape, second: _Shape) -> bool:
    if first.joints.keys() != second.joints.keys():
        return False
    for name, (x, y, visible) in first.joints.items():
        other_x, other_y, other_visible = second.joints[name]
        if visible != other_visible or max(abs(x - other_x), abs(y - other_y)) > SAME:
            return False
    return True


@dataclass
class _Points:
    """The regions of one annotation, by what they are."""

    points: dict[str, tuple[str, float, float]]  # by region id: joint, x, y
    boxes: dict[str, Box | None]  # None: one that is turned or flat, but still keeps its points together
    parents: dict[str, str]  # region id → region id of its parent
    related: list[tuple[str, str]]
    occluded: set[str]  # region ids


def _group_regions(regions: Sequence[Region]) -> list[_Shape]:
    """Return the persons with joints that regions describe.

    Points belong to a box by their parent, else by a relation in either direction, else to the only box; without any
    of these they are one person, if no joint occurs twice.
    """
    parsed = _parse_regions(regions)
    owners = {}
    for point in parsed.points:
        owners[point] = _find_box(point, parsed)
    if len(parsed.boxes) == 1:
        only_box = next(iter(parsed.boxes))
        owners = {point: box or only_box for point, box in owners.items()}
    shapes: dict[str, _Shape] = {}
    for point, (joint, x, y) in parsed.points.items():
        owner = owners[point]
        shape = shapes.setdefault(owner, _Shape({}, parsed.boxes.get(owner)))
        place = (x, y, 1 if point in parsed.occluded else 2)
        if shape.joints.get(joint, place) != place:
            raise _UnusableError(
                f"the joint {joint!r} occurs twice in one person; draw a box around each person, and make it "
                "the parent of the person's points (drag them onto it in the list of regions), or delete one of both"
            )
        shape.joints[joint] = place
    _check_loose_points(shapes)
    return list(shapes.values())


def _check_loose_points(shapes: Mapping[str, _Shape]) -> None:
    """Refuse points that belong to no box where others do, unless they are of another kind of animal."""
    if "" not in shapes or len(shapes) == 1:
        return
    loose = shapes[""].joints
    grouped = [joint for owner, shape in shapes.items() for joint in shape.joints if owner]
    if not set(loose).isdisjoint(grouped):
        raise _UnusableError(
            f"it has several boxes, and these points belong to none: {', '.join(sorted(loose))}; drag each onto its "
            "box in the list of regions"
        )


def _find_box(point: str, parsed: _Points) -> str:
    """Return the id of the box that a point belongs to, by its parent or a relation; empty if neither says so."""
    owner = parsed.parents.get(point, "")
    if owner:
        # A parent that is no box, or whose box was deleted, still keeps points together.
        return owner
    for start, end in parsed.related:
        if start == point and end in parsed.boxes:
            return end
        if end == point and start in parsed.boxes:
            return start
    return ""


def _parse_regions(regions: Sequence[Region]) -> _Points:
    parsed = _Points({}, {}, {}, [], set())
    for position, region in enumerate(regions):
        kind = region.get("type")
        value = region.get("value")
        number = region.get("id")
        # Points without an id, as some tools make them, are none of the others.
        name = number if isinstance(number, str) else f"#{position}"
        if kind == "relation":
            ends = (region.get("from_id"), region.get("to_id"))
            if isinstance(ends[0], str) and isinstance(ends[1], str):
                parsed.related.append((ends[0], ends[1]))
        elif not isinstance(value, dict):
            raise _UnusableError(f"its region {format_value(number)} has no value; export it again")
        elif kind == "choices":
            choices = value.get("choices")
            if isinstance(choices, list) and OCCLUDED in choices:
                parsed.occluded.add(name)
        elif "keypointlabels" in value:
            _add_point(parsed, name, region, value)
        elif "rectanglelabels" in value:
            parsed.boxes[name] = _parse_box(number, value)
    return parsed


def _add_point(parsed: _Points, name: str, region: Region, value: Mapping[str, Any]) -> None:
    labels = value["keypointlabels"]
    if not isinstance(labels, list) or len(labels) != 1 or not is_text(labels[0]):
        shown = format_value(labels)
        raise _UnusableError(f"its point {format_value(region.get('id'))} has the labels {shown}; give it one joint")
    x: Any = value.get("x")
    y: Any = value.get("y")
    if not (is_coordinate(x) and is_coordinate(y)):
        place = f"({format_value(x)}, {format_value(y)})"
        raise _UnusableError(f"its joint {labels[0]!r} is at {place}; expected percent of the image")
    point = (labels[0], float(x), float(y))
    if parsed.points.get(name, point) != point:
        # Two regions with one id: which one a choice or relation means cannot be known.
        raise _UnusableError(f"it has two points with the id {format_value(name)}; export it again")
    parsed.points[name] = point
    parent = region.get("parentID")
    if isinstance(parent, str):
        parsed.parents[name] = parent


def _parse_box(number: Any, value: Mapping[str, Any]) -> Box | None:
    sides: list[Any] = [value.get(key) for key in ("x", "y", "width", "height")]
    if not all(map(is_coordinate, sides)):
        raise _UnusableError(f"its box {format_value(number)} has the sides {format_value(sides)}; expected percent")
    x, y, width, height = sides
    if value.get("rotation") or width <= 0 or height <= 0:
        return None
    return x, y, width, height
