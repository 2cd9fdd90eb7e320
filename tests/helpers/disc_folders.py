"""COCO keypoints folders of pictures in which each joint is a disc of its own colour, to see where labels lie."""

import json

import cv2
import numpy as np
from helpers.coco_folders import JOINTS
from helpers.turned_jpegs import encode, store

WIDTH, HEIGHT = 96, 72  # upright
COLOURS = np.array([(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 40), (255, 40, 255)])
RADIUS = 5
POINTS = np.array([(30, 14), (42, 26), (18, 26), (38, 52), (22, 52)])  # of JOINTS in the first image


def points(number):
    """(5, 2) where the joints of an image are; each image has them elsewhere."""
    return POINTS + np.array([3 * number, number % 4])


def picture(number):
    """The upright image."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)
    for (x, y), colour in zip(points(number).tolist(), COLOURS.tolist(), strict=True):
        cv2.circle(pixels, (x, y), RADIUS, colour, -1)
    return pixels


def table(count=10):
    """Annotations as tools write them that show images upright."""
    images = []
    annotations = []
    for number in range(count):
        images.append({"id": number, "file_name": f"{number:03d}.jpg", "width": WIDTH, "height": HEIGHT})
        x, y = points(number).min(axis=0).tolist()
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [x - 6, y - 6, 36, 50],
                "keypoints": [value for point in points(number).tolist() for value in (*point, 2)],
            }
        )
    category = {"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [category]}


def folder(path, content=None, orientation=None):
    """Write annotations and JPEGs, stored with an EXIF orientation if there is one to be."""
    content = content or table()
    (path / "images").mkdir(parents=True, exist_ok=True)
    for number, entry in enumerate(content["images"]):
        pixels = picture(number) if orientation is None else store(picture(number), orientation)
        (path / "images" / entry["file_name"]).write_bytes(encode(np.ascontiguousarray(pixels), orientation))
    (path / "annotations.json").write_text(json.dumps(content))
    return str(path)


def count_on_colour(data):
    """How many labelled joints of a dataset lie on the disc of their own colour, and how many there are."""
    hits = 0
    labels = data.records.labels
    rows, joints = np.nonzero(labels.visible)
    for row, joint in zip(rows.tolist(), joints.tolist(), strict=True):
        image = data.load(row).astype(int)
        x, y = np.round(labels.joints[row, joint]).astype(int)
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
            hits += bool(np.abs(image[y, x] - COLOURS[joint]).max() < 60)
    return hits, len(rows)
