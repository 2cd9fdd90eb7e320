"""Read the table of joints of LSP and LSPET.

It runs in a subprocess (see `read_in_subprocess`), so this module imports little.
"""

from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from llpp.errors import DataError

MAX_COORDINATE = 1e5  # pixels; joints may be outside their image, but not so far
REMEDY = "unpack the published archive there or set dataset.root=…; see docs/datasets.md"


def read_joints(path: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8], int]:
    """Read joints (N, 14, 2), visibility (N, 14) and the number of digits in the image names from a `joints.mat`.

    Raises:
        DataError: the file is missing or damaged, its shape is neither LSP's nor LSPET's, or a labelled joint has no
            possible coordinates.
    """
    table = _load_table(path)
    if table.shape[0] == 14:
        # LSPET's flag means labelled.
        people = table.transpose(2, 0, 1)
        visible = np.where(people[..., 2] != 0, 2, 0)
        digits = 5
    else:
        # LSP's flag means occluded; all joints are labelled.
        people = table.transpose(2, 1, 0)
        visible = np.where(people[..., 2] != 0, 1, 2)
        digits = 4
    joints = people[..., :2]
    labelled = visible > 0
    _check_coordinates(path, joints, labelled)
    joints = np.where(labelled[..., None], joints, np.nan)
    return joints.astype(np.float32), visible.astype(np.uint8), digits


def _load_table(path: Path) -> NDArray[np.float64]:
    """Load the variable `joints`, (3, 14, N) or (14, 3, N)."""
    if not path.is_file():
        raise DataError(f"no joints.mat in {path.parent.absolute()}; {REMEDY}")
    try:
        content = scipy.io.loadmat(path, variable_names=["joints"])
    except MemoryError:
        # `read_in_subprocess` explains it.
        raise
    except Exception as error:
        # loadmat raises whatever its parser meets in a damaged file.
        raise DataError(f"{path} cannot be read ({error}); it is truncated or no MATLAB 5 file: {REMEDY}") from error
    table = content.get("joints")
    shape = getattr(table, "shape", None)
    has_shape = shape is not None and len(shape) == 3 and sorted(shape[:2]) == [3, 14]
    if not has_shape or not np.issubdtype(table.dtype, np.number):
        raise DataError(
            f"{path} holds joints of shape {shape}; expected (3, 14, N) for LSP or (14, 3, N) for LSPET: {REMEDY}"
        )
    return np.asarray(table, dtype=np.float64)


def _check_coordinates(path: Path, joints: NDArray[np.float64], labelled: NDArray[np.bool_]) -> None:
    """Raise DataError about the first image with a labelled joint (N, 14) whose x or y (N, 14, 2) is impossible."""
    # A NaN fails the comparison too.
    possible = (np.abs(joints) < MAX_COORDINATE).all(axis=2)
    broken = (labelled & ~possible).any(axis=1)
    if broken.any():
        number = int(broken.argmax()) + 1
        raise DataError(
            f"{path}: image {number} has a labelled joint without coordinates, or one of more than "
            f"{MAX_COORDINATE:.0e} pixels; {REMEDY}"
        )
