"""Small folders of LSP and LSPET as published."""

import cv2
import numpy as np
import scipy.io


def folder(path, count=8, extended=True, size=(60, 80)):
    """A small folder in the published form, with joints on a grid; returns the raw table."""
    (path / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    table = np.zeros((14, 3, count))
    table[:, 0], table[:, 1] = rng.uniform(5, 75, (14, count)), rng.uniform(5, 55, (14, count))
    table[:, 2] = 1 if extended else 0
    digits = 5 if extended else 4
    for n in range(count):
        image = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(path / f"images/im{n + 1:0{digits}d}.jpg"), image)
    scipy.io.savemat(path / "joints.mat", {"joints": table if extended else table.transpose(1, 0, 2)})
    return table


def change(path, edit):
    """Rewrite the joints of a folder."""
    table = scipy.io.loadmat(path / "joints.mat")["joints"]
    edit(table)
    scipy.io.savemat(path / "joints.mat", {"joints": table})
