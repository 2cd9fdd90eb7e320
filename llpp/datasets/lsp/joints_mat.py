"""The table of joints of LSP and LSPET; apart, because the process that reads it shall import little else."""

from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from llpp.errors import DataError

MAX_COORDINATE = 1e5  # pixels; joints may lie outside their image, but not there
REMEDY = "unpack the published archive there or set dataset.root=…; see README, Datasets"


def read_joints(path: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8], int]:
    """Joints (N, 14, 2), visibility (N, 14) and the number of digits in the image names, from a `joints.mat`."""
    if not path.is_file():
        raise DataError(f"no joints.mat in {path.parent.absolute()}; {REMEDY}")
    try:
        content = scipy.io.loadmat(path, variable_names=["joints"])
    except MemoryError:
        raise  # `read_apart` says why
    except Exception as error:  # loadmat raises whatever its parser meets in a damaged file
        raise DataError(f"{path} cannot be read ({error}); it is truncated or no MATLAB 5 file: {REMEDY}") from error
    table = content.get("joints")
    shape = None if table is None else table.shape
    if shape is None or len(shape) != 3 or sorted(shape[:2]) != [3, 14] or not np.issubdtype(table.dtype, np.number):
        raise DataError(
            f"{path} holds joints of shape {shape}; expected (3, 14, N) for LSP or (14, 3, N) for LSPET: {REMEDY}"
        )
    extended = shape[0] == 14
    people = np.asarray(table, dtype=np.float64).transpose((2, 0, 1) if extended else (2, 1, 0))
    joints, flag = people[..., :2], people[..., 2] != 0
    visible = np.where(flag, 2, 0) if extended else np.where(flag, 1, 2)
    broken = ((visible > 0) & ~(np.abs(joints) < MAX_COORDINATE).all(axis=2)).any(axis=1)
    if broken.any():
        raise DataError(
            f"{path}: image {int(broken.argmax()) + 1} has a labelled joint without coordinates, or one of more than "
            f"{MAX_COORDINATE:.0e} pixels; {REMEDY}"
        )
    joints = np.where((visible > 0)[..., None], joints, np.nan)
    return joints.astype(np.float32), visible.astype(np.uint8), 5 if extended else 4
