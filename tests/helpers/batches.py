"""Batches of images that are made for a test."""

import cv2
import numpy as np

from llpp.datasets.pose import Skeleton
from llpp.journal.answers import PersonLabel
from llpp.oracles.tool import AskedImage, LabelBatch

MOUSE = Skeleton(joints=("nose", "left_ear", "tail"), flip_pairs=(), edges=((0, 1), (0, 2)), torso=())


def make_asked_image(folder, number, role="train", *, size=(60, 40), colour=(90, 90, 90), joints=None):
    """An image of one colour (RGB), with a suggestion and a predicted loss; its rank is its number + 1."""
    image = f"day 1/Mäuse {number}.png"
    path = folder / image
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), colour[::-1], np.uint8)
    pixels[0, 0] = number  # no two files are equal
    cv2.imwrite(str(path), pixels)
    joints = {"nose": (20.0, 10.0, 2), "tail": (40.0, 30.0, 1)} if joints is None else joints
    return AskedImage(
        image=image,
        path=path,
        name=f"day_1__Mause_{number}.png",
        relative=image,
        size=size,
        role=role,
        rank=number + 1,
        reason="random, for testing" if role == "test" else f"largest predicted loss (rank {number})",
        predicted_loss=0.5 + number / 1000,
        suggested=(PersonLabel(image, joints),),
    )


def make_batch(folder, *, test=2, train=4, round=1, **more):
    """A batch with test images first; `more` is for `make_asked_image`."""
    images = []
    for number in range(test + train):
        role = "test" if number < test else "train"
        images.append(make_asked_image(folder, number, role, **more))
    return LabelBatch("mice", round, MOUSE, images, folder)
