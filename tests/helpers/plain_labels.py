"""A labelling tool with the plainest file, and projects whose index is written by hand."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llpp.datasets.project.index import CONDITIONS, THUMBNAIL, ProjectIndex
from llpp.datasets.project.project_file import Film, ProjectFile
from llpp.errors import DataError
from llpp.files import read_text
from llpp.ids import Ids
from llpp.journal.fold import fold_answers
from llpp.journal.folder import LabellingFolder
from llpp.journal.journal import read_journal
from llpp.labelling.asked import AskedRow, write_asked
from llpp.labelling.importing import ImportSettings, import_files
from llpp.oracles.tool import Entry, FileContent, LabellingTool, PersonEntry, Rejection

JOINTS = ("nose", "left_hand", "right_hand")


class PlainLabels(LabellingTool):
    """`{"plain": [entry, …]}`; an entry has the fields of `Entry`, in `persons` joints by name."""

    name = "plain"
    title = "Plain Labels"

    def write(self, batch, folder, options):
        raise NotImplementedError

    def describe_steps(self, batch, files):
        raise NotImplementedError

    def recognises(self, path, start):
        return start.startswith(b'{"plain"')

    def read(self, path, options):
        try:
            content = json.loads(read_text(path, 1 << 26))
        except ValueError as error:
            raise DataError(f"{path.name} is cut off; export it again") from error
        entries, rejections = [], []
        for number, fields in enumerate(content["plain"]):
            if not isinstance(fields, dict):
                rejections.append(Rejection(f"entry {number}", "it is no object; export the file again"))
                continue
            persons = []
            for person in fields.pop("persons", []):
                joints = {name: tuple(point) for name, point in person["joints"].items()}
                box = tuple(person["box"]) if person.get("box") else None
                persons.append(PersonEntry(joints, box, person.get("id", "")))
            if "size" in fields:
                fields["size"] = tuple(fields["size"])
            entries.append(Entry(**fields, persons=persons))
        return FileContent(entries, rejections, content.get("remarks", ()))


def labelled(name, *, joints=None, **fields):
    """An entry about the image `name` with one person."""
    joints = joints or {"nose": (10, 20, 2)}
    return {"names": [name], "persons": [{"joints": joints}], "status": "labelled"} | fields


def make_index(conditions, sizes=None, frames=None):
    """An index of images with these conditions; `frames`: ids of frames → path of their film by now."""
    names = sorted(conditions)
    frames = frames or {}
    count = len(names)
    width, height = zip(*[(sizes or {}).get(name, (200, 100)) for name in names], strict=True)
    films, numbers, files = [], [], []
    for name in names:
        film, _, number = name.rpartition("#") if name in frames else ("", "", "-1")
        films.append(film)
        numbers.append(int(number))
        files.append(f"frames/{film}/{number}.jpg" if film else name)
    return ProjectIndex(
        ids=Ids(names),
        files=Ids(files),
        is_own=np.array([name in frames for name in names]),
        found=Ids([frames.get(name, name) for name in names]),
        bytes=np.full(count, 1000),
        changed_ns=np.zeros(count, dtype=np.int64),
        digest=np.arange(count, dtype=np.uint64),
        width=np.array(width, dtype=np.int32),
        height=np.array(height, dtype=np.int32),
        condition=np.array([CONDITIONS.index(conditions[name]) for name in names], dtype=np.uint8),
        problem=Ids([""] * count),
        group=Ids(names),
        is_test=np.zeros(count, dtype=bool),
        film=Ids(films),
        frame=np.array(numbers),
        seconds=np.full(count, np.nan),
        thumbnail=np.zeros((count, THUMBNAIL, THUMBNAIL), dtype=np.uint8),
    )


def make_project(films=(), boxes="image", tool="plain"):
    return ProjectFile(
        name="mice",
        root="/data/mice",
        joints=JOINTS,
        edges=(),
        grouping="image",
        segment=60.0,
        boxes=boxes,
        salt="1",
        test_cut=0.2,
        films=films,
        tool=tool,
    )


def make_film(name, has_variable_rate=False, every=10):
    return Film(name, 1000, "0" * 64, 300, 10.0, has_variable_rate, every, 60.0)


@dataclass
class PlainProject:
    """A labelling folder in which files of `PlainLabels` are imported."""

    path: Path
    conditions: dict = field(
        default_factory=lambda: {name: "ok" for name in ("a.jpg", "b.jpg", "c.jpg", "day1/d.jpg")}
    )
    project: ProjectFile = field(default_factory=make_project)
    boxes: dict | None = None
    tools: tuple = (PlainLabels(),)
    sizes: dict | None = None

    @property
    def folder(self):
        return LabellingFolder(self.path)

    @property
    def index(self):
        return make_index(self.conditions, self.sizes)

    def put(self, *entries, name="export.json", **content):
        """Put a file into the inbox and return its path."""
        path = self.folder.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"plain": entries, **content}), encoding="utf-8")
        return path

    def ask(self, number, images, suggested=None):
        """Write a batch whose copies are called after its position."""
        suggested = suggested or {}
        rows = [
            AskedRow(image, f"{number}_{rank}.jpg", "train", rank, image in suggested, None, "a test")
            for rank, image in enumerate(images, start=1)
        ]
        write_asked(rows, suggested, self.folder.get_round_dir(number))

    def read(self, *files, **settings):
        """Import files, or else the inbox."""
        files = files or sorted(self.folder.inbox.iterdir())
        given = (files, self.tools, self.folder, self.project, self.index, ImportSettings(**settings), self.boxes)
        return import_files(*given)

    def fold(self, conflict="newest"):
        return fold_answers(read_journal(self.folder.journal), conflict)

    def list_kinds(self):
        return {image: folded.kind for image, folded in sorted(self.fold().items())}
