"""A person who labels in napari and saves CollectedData; of what napari saves, this is the CSV."""

from pathlib import Path

import h5py
import numpy as np
from helpers.joint_tables import JointTableFile

ROUNDING = 1e-9
SAYS_EMPTY = False
SAYS_SKIPPED = True
KNOWS_OCCLUDED = False
KNOWS_UNTOUCHED = False
SEVERAL_PERSONS = True
EMPTY_OPTIONS = {}
NOT_ANSWERS = ("asked_by_llpp.txt",)
SCORER = "jane"


def save(batch, written, folder):
    """Saving the layer of suggestions takes all of them over, looked at or not."""
    path = written[0].parent / f"CollectedData_{SCORER}.csv"
    most = max([1, *(len(image.suggested) for image in batch.images)])
    individuals = [f"individual{number + 1}" for number in range(most)] if most > 1 else []
    table = JointTableFile(path, SCORER, batch.skeleton.joints, individuals)
    for name, persons in show_suggestions(written[0]):
        table.put(name, persons)
    return [path]


def show_suggestions(path):
    """The names of rows, and the joints of each individual."""
    with h5py.File(path) as file:
        table = file["df_with_missing"]
        columns = read_axis(table, "axis0")
        for name, values in zip(read_axis(table, "axis1"), table["block0_values"][()], strict=True):
            persons = {}
            cells = dict(zip(columns, values, strict=True))
            for _, *owner, joint, axis in columns:
                if axis == "x" and not np.isnan(cells["llpp", *owner, joint, "x"]):
                    place = (cells["llpp", *owner, joint, "x"], cells["llpp", *owner, joint, "y"], 2)
                    persons.setdefault(tuple(owner), {})[joint] = place
            yield "/".join(name), list(persons.values())


def read_axis(table, axis):
    levels = []
    for level in range(table.attrs[f"{axis}_nlevels"]):
        texts = [text.decode() for text in table[f"{axis}_level{level}"][()]]
        levels.append([texts[label] for label in table[f"{axis}_label{level}"][()]])
    return list(zip(*levels, strict=True))


def open_table(saved):
    return JointTableFile(saved[0], SCORER, ())


def row_name(path, image):
    return f"labeled-data/{path.parent.name}/{Path(image.name).stem}.png"


def move(saved, image, joint, by, person=0):
    open_table(saved).change(row_name(saved[0], image), joint, person, lambda x, y: (x + by[0], y + by[1]))


def remove(saved, image, joint, person=0):
    open_table(saved).change(row_name(saved[0], image), joint, person, lambda x, y: (None, None))


def draw(saved, image, joints):
    open_table(saved).put(row_name(saved[0], image), [joints])


def skip(saved, image):
    """The picture is deleted, as DeepLabCut's users do with those that cannot be labelled."""
    name = row_name(saved[0], image)
    open_table(saved).drop(name)
    (saved[0].parent / Path(name).name).unlink()


def leave_out(saved, image):
    open_table(saved).drop(row_name(saved[0], image))


def add(saved, name, size, joints):
    open_table(saved).put(name, [joints])


def reverse(saved):
    open_table(saved).reverse()


def duplicate(saved, image):
    open_table(saved).repeat(row_name(saved[0], image))
