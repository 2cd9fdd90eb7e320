"""Small batches for labelling tools, and where files are that people have saved with them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from llpp.datasets.pose import Skeleton
from llpp.journal.answers import PersonLabel
from llpp.oracles.tool import AskedImage, LabelBatch, ReadOptions

SAMPLES = Path(__file__).parents[3] / "shared/data/field_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="files of labelling tools are not installed")
SKELETON = Skeleton(("nose", "left_ear", "right_ear"), flip_pairs=((1, 2),), edges=((0, 1), (0, 2)), torso=())
OPTIONS = ReadOptions(SKELETON.joints)
NOSE_AND_EAR = {"nose": (10.25, 20.5, 2), "left_ear": (12.0, 15.75, 1)}


def write_image(path, width=60, height=40, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def make_batch(root, persons=((NOSE_AND_EAR,), ()), inside=True):
    """As many images as `persons` has entries, each with suggestions of so many persons; .jpg but for the first."""
    images = []
    for number, suggested in enumerate(persons):
        ending = "png" if number == 0 else "jpg"
        relative = f"day 1/frame {number}.{ending}"
        path = write_image((root if inside else root.with_name("elsewhere")) / relative, seed=number)
        labels = [PersonLabel(f"{relative}#{place + 1}", joints) for place, joints in enumerate(suggested)]
        images.append(
            AskedImage(
                image=relative,
                path=path,
                name=f"{number:04d}_frame-{number}.{ending}",
                relative=relative if inside else "",
                size=(60, 40),
                role="train",
                rank=number + 1,
                reason="largest predicted loss",
                predicted_loss=0.5,
                suggested=labels,
            )
        )
    return LabelBatch("mice", 3, SKELETON, images, root)


def list_points(entry):
    """The joints of an entry's persons, without visibility."""
    return [{joint: (x, y) for joint, (x, y, _) in person.joints.items()} for person in entry.persons]
