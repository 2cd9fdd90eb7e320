"""A small batch of drawn images as `llpp label` asks for it, and what a reader has found about them."""

import shutil
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from llpp.datasets.pose import Skeleton
from llpp.journal.answers import PersonLabel
from llpp.oracles.tool import AskedImage, LabelBatch

JOINTS = ("nose", "left ear", "right ear", "tail")
SKELETON = Skeleton(joints=JOINTS, flip_pairs=((1, 2),), edges=((0, 1), (0, 2), (0, 3)), torso=())
SIZES = ((320, 240), (200, 300), (256, 192), (300, 200), (160, 160))
# With two of the joints at quarters of a pixel, one covered, and in the second image one that is not there.
SUGGESTED = (
    {"nose": (60.25, 50.5, 2), "left ear": (50.0, 40.0, 2), "right ear": (72.5, 41.0, 1), "tail": (60.0, 150.75, 2)},
    {"nose": (90.0, 60.0, 2), "left ear": (80.5, 52.0, 2), "right ear": (101.0, 50.25, 2)},
)
BOX = (30.0, 20.0, 70.0, 160.0)


def make_batch(root, several=False):
    """Five images in a folder, suggestions for the first two; with `several`, two persons in the first."""
    images = []
    for number, (width, height) in enumerate(SIZES):
        relative = f"day {number % 2}/mäuse #{number}.png"
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3)
        cv2.imwrite(str(path), (rows // 7 + number).astype(np.uint8))
        suggested = ()
        if number < len(SUGGESTED):
            suggested = (PersonLabel(relative, SUGGESTED[number], BOX if number == 0 else None),)
        if several and number == 0:
            other = {"nose": (200.5, 60.0, 2), "tail": (210.0, 160.0, 2)}
            suggested = (*suggested, PersonLabel(f"{relative}#2", other, (180.0, 40.0, 50.0, 140.0)))
        images.append(
            AskedImage(
                image=relative,
                path=path,
                name=f"{number:04d}_maeuse_{number}.png",
                relative=relative,
                size=(width, height),
                role="test" if number == 4 else "train",
                rank=5 - number,
                reason="made for a test",
                predicted_loss=0.5 + number if suggested else None,
                suggested=suggested,
            )
        )
    return LabelBatch(project="mice", round=0, skeleton=SKELETON, images=images, root=root)


def copy_images(batch, folder):
    """Put the images next to a batch's files, as `llpp label` does."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for asked in batch.images:
        shutil.copy(asked.path, images / asked.name)


def means(entry, asked):
    """Whether an entry is about an image, by its id, the end of its path, or its file's name without the ending."""
    if entry.image:
        return entry.image == asked.image
    for name in entry.names:
        path = PurePosixPath(name)
        if name.endswith((asked.name, asked.relative)) or path.stem == Path(asked.name).stem:
            return True
    return False


def find_entries(content, asked):
    return [entry for entry in content.entries if means(entry, asked)]


def in_pixels(entry, asked):
    """The persons of an entry as {joint: (x, y, visible)}, in pixels of the image."""
    if entry.relative:
        scale = asked.size
    elif entry.size is None:
        scale = (1, 1)
    else:
        scale = (asked.size[0] / entry.size[0], asked.size[1] / entry.size[1])
    persons = []
    for person in entry.persons:
        persons.append({name: (x * scale[0], y * scale[1], v) for name, (x, y, v) in person.joints.items()})
    return persons
