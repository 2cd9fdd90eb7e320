"""Small COCO keypoints folders."""

import json

import cv2
import numpy as np

JOINTS = ["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"]


STANDING = [50, 10, 2, 60, 20, 2, 40, 20, 1, 58, 50, 2, 0, 0, 0]  # no right hip; an occluded shoulder


EDGES = [[1, 2], [1, 3], [2, 4], [3, 5]]


def annotation(number, image, **changes):
    entry = {"id": number, "image_id": image, "category_id": 1, "bbox": [30, 5, 40, 60.5], "iscrowd": 0}
    return {**entry, "keypoints": list(STANDING), **changes}


def content(count=10, joints=JOINTS, edges=EDGES):
    """One person in each of `count` images."""
    return {
        "images": [{"id": n, "file_name": f"{n:04d}.png", "width": 90, "height": 70} for n in range(1, count + 1)],
        "annotations": [annotation(100 + n, n) for n in range(1, count + 1)],
        "categories": [{"id": 1, "name": "person", "keypoints": joints, "skeleton": edges}],
    }


def folder(path, table=None, name="annotations.json", images="images"):
    """Write the annotations and grey images of 70 × 90 pixels."""
    table = content() if table is None else table
    (path / images).mkdir(parents=True, exist_ok=True)
    for entry in table["images"]:
        cv2.imwrite(str(path / images / entry["file_name"]), np.full((70, 90, 3), 120, dtype=np.uint8))
    (path / name).write_text(json.dumps(table))
    return path


def written(path, text):
    """A folder without images whose annotations are this text or table."""
    (path / "annotations.json").write_text(text if isinstance(text, str) else json.dumps(text))
    return str(path)
