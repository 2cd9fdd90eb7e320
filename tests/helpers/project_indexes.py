"""Indexes of projects that exist only as values."""

import numpy as np

from llpp.datasets.project.index import CONDITIONS, THUMBNAIL, ProjectIndex
from llpp.datasets.project.project_file import ProjectFile
from llpp.ids import Ids

PROJECT = ProjectFile(
    name="mice", root="/data/mice", joints=("nose", "tail"), edges=((0, 1),), grouping="image", segment=60.0,
    boxes="image", salt="pepper", test_cut=0.2,
)  # fmt: skip


def make_index(ids, *, test=(), conditions=None, films=None, seconds=None, thumbnails=None):
    """An index of images, or of frames where `films` and `seconds` are given; `test` are the ids of test groups."""
    count = len(ids)
    conditions = conditions or {}
    codes = [CONDITIONS.index(conditions.get(image, "ok")) for image in ids]
    if thumbnails is None:
        thumbnails = np.zeros((count, THUMBNAIL, THUMBNAIL), np.uint8)
    return ProjectIndex(
        ids=Ids(ids),
        files=Ids(ids),
        is_own=np.zeros(count, bool),
        found=Ids(ids),
        bytes=np.ones(count, np.int64),
        changed_ns=np.zeros(count, np.int64),
        digest=np.arange(count, dtype=np.uint64),
        width=np.full(count, 100, np.int32),
        height=np.full(count, 80, np.int32),
        condition=np.array(codes, np.uint8),
        problem=Ids([""] * count),
        group=Ids(ids),
        is_test=np.array([image in test for image in ids], bool),
        film=Ids(films or [""] * count),
        frame=np.full(count, -1, np.int64),
        seconds=np.full(count, np.nan) if seconds is None else np.array(seconds, float),
        thumbnail=thumbnails,
    )
