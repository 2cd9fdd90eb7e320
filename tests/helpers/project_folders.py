"""Folders of images and films as people have them, and snapshots of their labels."""

import struct

import cv2
import numpy as np

from llpp.datasets.project.index import CONDITIONS
from llpp.datasets.project.open_project import ProjectOptions, open_project
from llpp.ids import Ids
from llpp.journal.folder import LabellingFolder
from llpp.journal.snapshot import STATES, Snapshot, write_snapshot

JOINTS = ["nose", "left_ear", "right_ear", "tail"]
# Films of 96 × 64 pixels, 10 frames a second.
FILM_SIZE = (96, 64)
RATE = 10


def draw(number, width=48, height=32):
    """An image (H, W, 3) RGB that no other number gives: smooth, so that a JPEG is nearly it."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def save(path, pixels):
    """Write RGB pixels in the format of the path's ending, JPEGs of high quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.suffix.lower().replace(".jfif", ".jpg")
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 98] if ending in (".jpg", ".jpeg") else []
    done, encoded = cv2.imencode(ending, pixels[..., ::-1], parameters)
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def make_images(root, count, first=0, folder="", ending=".png"):
    for number in range(first, first + count):
        save(root / folder / f"im{number:04d}{ending}", draw(number))


def open_folder(root, labelling=None, **options):
    """Project, index and remarks of a folder."""
    folder = LabellingFolder(labelling or root.parent / "labelling" / root.name)
    return open_project(root, folder, ProjectOptions(**{"joints": JOINTS, **options}))


def labelling_folder(root):
    return LabellingFolder(root.parent / "labelling" / root.name)


def conditions(index):
    """Condition by id."""
    names = [CONDITIONS[place] for place in index.condition.tolist()]
    return dict(zip(index.ids, names, strict=True))


def split_of(index):
    """Whether it is for testing, by id."""
    return dict(zip(index.ids, index.is_test.tolist(), strict=True))


def scene(number):
    """A film's frame (H, W, 3) in OpenCV's order: all frames differ by more than two grey levels."""
    return np.ascontiguousarray(draw(1000 + number, *FILM_SIZE)[..., ::-1])


def write_film(path, frames, codec="mp4v", rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, FILM_SIZE)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def decode_film(path):
    """All frames, decoded in order by OpenCV."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while True:
        done, frame = capture.read()
        if not done:
            return frames
        frames.append(frame)


def vary_rate(path):
    """Let the first half of an MP4's frames last half as long as before, and the second half 1.5 times as long.

    The table of durations (stts) gets one entry more, and the boxes around it eight bytes; the pixels stand before
    them, so that nothing else moves.
    """
    data = bytearray(path.read_bytes())
    place = 0
    parents = []
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        place = data.index(kind, place)
        parents.append(place - 4)
    assert data.index(b"mdat") < parents[0], "the pixels have to stand before the tables"
    entries, count, duration = struct.unpack_from(">III", data, parents[-1] + 12)
    assert entries == 1 and count % 2 == 0 and duration % 2 == 0
    table = struct.pack(">IIIII", 2, count // 2, duration // 2, count // 2, duration * 3 // 2)
    data[parents[-1] + 12 : parents[-1] + 24] = table
    for parent in parents:
        (size,) = struct.unpack_from(">I", data, parent)
        struct.pack_into(">I", data, parent, size + 8)
    path.write_bytes(bytes(data))


def save_snapshot(path, persons, joints=JOINTS, budget=5):
    """Write a snapshot of (id, image, state, {joint: (x, y, visible)}, box or None)."""
    count = len(persons)
    points = np.full((count, len(joints), 2), np.nan, dtype=np.float32)
    visible = np.zeros((count, len(joints)), dtype=np.uint8)
    boxes = np.full((count, 4), np.nan, dtype=np.float32)
    for row, (_, _, _, labels, box) in enumerate(persons):
        for name, (x, y, code) in labels.items():
            points[row, joints.index(name)] = (x, y)
            visible[row, joints.index(name)] = code
        if box is not None:
            boxes[row] = box
    snapshot = Snapshot(
        round=0,
        budget=budget,
        joints=joints,
        ids=Ids(person[0] for person in persons),
        images=Ids(person[1] for person in persons),
        state=np.array([STATES.index(person[2]) for person in persons], dtype=np.uint8),
        points=points,
        visible=visible,
        boxes=boxes,
    )
    write_snapshot(snapshot, path)
    return path
