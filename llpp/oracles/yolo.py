"""Editors of YOLO's pose files: a text file per image, with a line per person.

A line is class, box and joints, as shares of the image's width and height: `0 cx cy w h x y v x y v …`. It has no
names: joints are taken by their position, so that their number and order must be the project's.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from llpp.datasets.coco.values import is_coordinate
from llpp.datasets.images import is_file, measure_image
from llpp.errors import DataError
from llpp.files import read_text, replace_text
from llpp.journal.answers import PersonLabel, find_hull
from llpp.oracles.tool import (
    UNCHANGED,
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

BOX_VALUES = 5  # of a line, before the joints: class, centre, width, height
MAX_BYTES = 1 << 24
CLASSES = "classes.txt"  # that some editors put among the labels
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class YoloTool(LabellingTool):
    """Writes a folder as YOLO has it, with suggestions aside; reads a text file per image."""

    name = "yolo"
    title = "a YOLO editor"
    answered = (
        "An image is answered once its file has a joint that a person has placed or moved, or is empty, which says "
        f"that nobody is there; these files cannot say that an image cannot be labelled. {UNCHANGED}"
    )

    def write(self, batch: LabelBatch, folder: Path, options: WriteOptions) -> list[Path]:
        """See `LabellingTool.write`: answers go to the folder `labels`, which is empty at first.

        A file there says that a person has answered, so that suggestions are in a folder of their own.
        """
        (folder / f"labels{options.part}").mkdir(parents=True, exist_ok=True)
        data_file = folder / f"data{options.part}.yaml"
        replace_text(data_file, _describe_data(batch, options.part))
        listed = folder / f"images{options.part}.txt"
        replace_text(listed, "".join(f"./images/{image.name}\n" for image in batch.images))
        written = [data_file, listed]
        for image in batch.images:
            if image.suggested:
                path = folder / f"suggested{options.part}" / f"{Path(image.name).stem}.txt"
                joints = batch.skeleton.joints
                lines = [_format_person(person, joints, image.size, options) for person in image.suggested]
                replace_text(path, "".join(lines))
                written.append(path)
        return written

    def describe_steps(self, batch: LabelBatch, files: Sequence[Path]) -> list[str]:
        """See `LabellingTool.describe_steps`."""
        data_file = files[0]
        part = data_file.stem.removeprefix("data")
        return [
            f"Open {data_file}, or the folder images next to it, in an editor of YOLO pose files, with labels{part} "
            f"as its folder of labels; to start from a suggestion, copy its file from suggested{part} there.",
            f"Label each picture, with joints in this order: {', '.join(batch.skeleton.joints)}. Save an empty file "
            "for a picture without anybody.",
            f"A picture counts as answered once its .txt is in {data_file.parent / f'labels{part}'}; then type the "
            "same llpp command again.",
        ]

    def recognises(self, path: Path, start: bytes) -> bool:
        """See `LabellingTool.recognises`: lines of numbers, or nothing in a folder called labels."""
        if path.suffix.lower() != ".txt":
            return False
        lines = _list_lines(start.decode("utf-8-sig", errors="replace"))
        if not lines:
            return not start.strip() and _locate_image(path) is not None
        # The last line may be cut off.
        return all(_is_person(line) for line in lines[:-1] or lines)

    def read(self, path: Path, options: ReadOptions) -> FileContent:
        """See `LabellingTool.read`."""
        try:
            text = read_text(path, MAX_BYTES)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); save it again") from error
        image_path, annotator = _locate_image(path) or (Path(path.stem), "")
        image_file = _find_file(image_path)
        names = ((image_file or image_path).as_posix(),)
        # After a careless merge a file may have every line twice; YOLO itself takes such a person once.
        lines = list(dict.fromkeys(_list_lines(text.removeprefix("\ufeff"))))
        if not lines:
            return FileContent((Entry(names=names, status="empty", annotator=annotator),))
        try:
            size = _measure(image_file) if options.half_pixel else None
            persons = [_parse_person(line, options, size) for line in lines]
        except ValueError as error:
            return FileContent((), (Rejection(path.name, str(error)),))
        labelled = [person for person in persons if person.joints]
        if not labelled:
            reason = "no joint of it is labelled; place one, or empty the file if nobody is in the picture"
            return FileContent((), (Rejection(path.name, reason),))
        entry = Entry(names=names, status="labelled", persons=labelled, relative=True, annotator=annotator)
        return FileContent((entry,))

    def list_answer_files(self, root: Path, batches: Sequence[Path]) -> list[Path]:
        """See `LabellingTool.list_answer_files`."""
        files = []
        for batch in batches:
            files += sorted(batch.glob("labels*/*.txt"))
        return [file for file in files if file.name != CLASSES]


def _describe_data(batch: LabelBatch, part: str) -> str:
    """data.yaml: where images are, and what the numbers of a line are."""
    joints = list(batch.skeleton.joints)
    content = {
        "path": ".",
        "train": f"images{part}.txt",
        "val": f"images{part}.txt",
        "names": {0: re.sub(r"\s+", " ", batch.project)},
        "kpt_shape": [len(joints), 3],
        "flip_idx": batch.skeleton.flip_order,
        "kpt_names": {0: joints},
    }
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return text


def _format_person(person: PersonLabel, joints: Sequence[str], size: Size, options: WriteOptions) -> str:
    width, height = size
    offset = 0.5 if options.half_pixel else 0.0
    left, top, box_width, box_height = person.box or find_hull(person.joints)
    centre = ((left + box_width / 2 + offset) / width, (top + box_height / 2 + offset) / height)
    values = [*centre, box_width / width, box_height / height]
    texts = ["0", *(f"{value:.8f}" for value in values)]
    for joint in joints:
        if joint in person.joints:
            x, y, visible = person.joints[joint]
            texts += [f"{(x + offset) / width:.8f}", f"{(y + offset) / height:.8f}", str(visible)]
        else:
            texts += ["0", "0", "0"]
    return " ".join(texts) + "\n"


def _list_lines(text: str) -> list[str]:
    """The lines that say something; some writers add comments."""
    lines = []
    for line in text.splitlines():
        content = line.partition("#")[0].strip()
        if content:
            lines.append(content)
    return lines


def _is_person(line: str) -> bool:
    words = line.split()
    try:
        return len(words) >= BOX_VALUES and all(is_coordinate(float(word)) for word in words)
    except ValueError:
        return False


def _locate_image(path: Path) -> tuple[Path, str] | None:
    """The image of a file of labels, without its ending, and whose labels they are if a batch is split among people.

    As YOLO has it, images are in a folder `images` next to that of the labels, with the same folders below it. None:
    the file is in no folder of labels.
    """
    parts = list(path.with_suffix("").parts)
    for place in range(len(parts) - 2, -1, -1):
        folder = re.fullmatch(r"labels_?(\d*)", parts[place])
        if folder:
            parts[place] = "images"
            return Path(*parts), folder[1]
    return None


def _find_file(image: Path) -> Path | None:
    """The file of an image whose ending is not known."""
    for ending in ENDINGS:
        for suffix in (ending, ending.upper()):
            file = image.with_name(image.name + suffix)
            if is_file(file):
                return file
    return None


def _measure(image_file: Path | None) -> Size:
    if image_file is None:
        raise ValueError(
            "label.half_pixel=true needs the image in a folder `images` next to that of the labels; it is not there"
        )
    measured = measure_image(image_file)
    return measured.width, measured.height


def _parse_person(line: str, options: ReadOptions, size: Size | None) -> PersonEntry:
    """One line; `size` is the image's if half a pixel is to be taken off. ValueError says what is wrong."""
    if not _is_person(line):
        raise ValueError(f"the line {line[:60]!r} is not a class, a box and joints, in numbers")
    values = [float(word) for word in line.split()]
    count = len(options.joints)
    width = (len(values) - BOX_VALUES) / count
    if width not in (2, 3):
        raise ValueError(
            f"a line has {len(values)} numbers, expected {BOX_VALUES + 3 * count}, or {BOX_VALUES + 2 * count} "
            f"without visibility: files of YOLO name no joints, so it must be the project's {count}, in its order"
        )
    off_x, off_y = (0.0, 0.0) if size is None else (0.5 / size[0], 0.5 / size[1])
    joints = {}
    for place, joint in enumerate(options.joints):
        start = BOX_VALUES + place * int(width)
        x, y, *rest = values[start : start + int(width)]
        visible = _read_visible(joint, (x, y), rest, options.visibility)
        if visible:
            joints[joint] = (x - off_x, y - off_y, visible)
    centre_x, centre_y, box_width, box_height = values[1:BOX_VALUES]
    box = (centre_x - box_width / 2 - off_x, centre_y - box_height / 2 - off_y, box_width, box_height)
    return PersonEntry(joints, box)


def _read_visible(joint: str, point: tuple[float, float], rest: Sequence[float], visibility: str) -> int:
    """0, 1 or 2; without a value of its own, a joint in the image's corner is not labelled."""
    if not rest:
        return 0 if point == (0, 0) or min(point) < 0 else 2
    value = rest[0]
    if value not in (0, 1, 2):
        raise ValueError(f"visibility of {joint} is {value:g}, expected 0, 1 or 2; predictions are no labels")
    return 2 if visibility == "binary" and value == 1 else int(value)
