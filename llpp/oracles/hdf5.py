"""HDF5 files, others' and ours: plain arrays that are in the file itself, up to a size limit.

A file of HDF5 can name other files, and Python objects in it are pickles: neither is followed. A damaged one may
crash its library, so that others' files are read in a process of their own, see `isolated_reader`.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llpp.datasets.isolated_reader import read_in_subprocess
from llpp.errors import ConfigError, DataError
from llpp.files import read_start

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_BYTES = 1 << 28  # of one array, unpacked
ADVICE = "pip install 'llpp[label]'"
T = TypeVar("T")


def is_hdf5(start: bytes) -> bool:
    """Whether a file that begins so is HDF5."""
    return start.startswith(MAGIC)


def read_isolated(reader: Callable[[Path], T], path: Path) -> T:
    """Return `reader(path)`, computed in a process of its own; `reader` is a function at the top level of a module.

    Raises:
        DataError: there is no h5py, the file cannot be read, or `reader` says so.
    """
    if find_spec("h5py") is None:
        raise DataError(f"{path} cannot be read without h5py; {ADVICE}")
    try:
        start = read_start(path, len(MAGIC))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); save it again") from error
    if not is_hdf5(start):
        raise DataError(f"{path} cannot be read: it is no HDF5 file; save it again")
    return read_in_subprocess(reader, path)


def import_for_writing(tool: str) -> Any:
    """Return h5py; ConfigError if it is not installed."""
    if find_spec("h5py") is None:
        raise ConfigError(f"tool={tool} writes its batches with h5py, which is not installed; {ADVICE}")
    return import_module("h5py")


def open_for_reading(path: Path) -> Any:
    """Open a file; to be called in the process that `read_isolated` starts."""
    return import_module("h5py").File(path, "r")


def has_member(group: Any, name: str) -> bool:
    """Whether a group has a member of its own, which is no link to another place."""
    h5py = import_module("h5py")
    # What a link leads to may be in another file: only whether it is one is asked for.
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def get_group(group: Any, name: str) -> Any:
    """Return a group in another one; DataError if there is none."""
    h5py = import_module("h5py")
    member = group[name] if has_member(group, name) else None
    if not isinstance(member, h5py.Group):
        raise DataError(f"{group.file.filename} has no group {name!r}; save it again")
    return member


def read_array(group: Any, name: str) -> NDArray[Any]:
    """Read an array of numbers, records or texts; DataError if there is none, or it is not in the file itself."""
    h5py = import_module("h5py")
    member = group[name] if has_member(group, name) else None
    what = f"{group.file.filename}: {name!r}"
    if not isinstance(member, h5py.Dataset):
        raise DataError(f"{what} is not there, or no array; save the file again")
    if member.is_virtual or member.external:
        raise DataError(f"{what} is kept in another file; save it as one file")
    # A few compressed bytes may unpack to any size.
    size = member.size * member.dtype.itemsize
    if size > MAX_BYTES:
        raise DataError(f"{what} has {size:,} bytes, more than the limit of {MAX_BYTES:,}; save it in several files")
    return np.asarray(member[()])


def read_texts(group: Any, name: str) -> list[str]:
    """Read an array of texts."""
    array = read_array(group, name)
    texts = []
    for value in array.reshape(-1):
        if isinstance(value, bytes):
            texts.append(value.decode())
        elif isinstance(value, str):
            texts.append(str(value))
        else:
            raise DataError(
                f"{group.file.filename}: {name!r} holds {type(value).__name__}, expected text; save it again"
            )
    return texts
