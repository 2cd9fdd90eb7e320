"""DeepLabCut's tables in HDF5, in the two layouts that pandas has had; written and read without pandas.

Only numbers and texts are read. Much else in such files is pickled, the column names of the older layout among it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.errors import DataError
from llpp.files import replace_file
from llpp.oracles.hdf5 import get_group, has_member, import_for_writing, open_for_reading, read_array

KEY = "df_with_missing"  # DeepLabCut's name of the table
NO_NAME = np.bytes_(b"N.")  # how PyTables writes that a level of the row names has no name
MAX_LEVELS = 8


@dataclass(frozen=True)
class Frame:
    """A table of numbers whose rows and columns have names of several levels. N rows, C columns."""

    columns: Sequence[tuple[str, ...]] | None  # (C,) None: this layout has them as pickles only
    names: Sequence[tuple[str, ...]]  # (N,)
    values: NDArray[np.float64]  # (N, C)


def mentions_pandas(start: bytes) -> bool:
    """Whether the first bytes of an HDF5 file say that pandas, or DeepLabCut, has written it."""
    return b"pandas_type" in start


def read_frame(path: Path) -> Frame:
    """Read DeepLabCut's table; to be called in the process that `read_isolated` starts.

    Raises:
        DataError: the file has no such table.
    """
    with open_for_reading(path) as file:
        group = get_group(file, KEY)
        if has_member(group, "table"):
            return _read_older_layout(group)
        names = _read_axis(group, "axis1")
        columns = _read_axis(group, "axis0")
        values = np.full((len(names), len(columns)), np.nan)
        missing = {column: position for position, column in enumerate(columns)}
        # Columns of one number type are a block.
        block = 0
        while missing:
            places = [missing.pop(column) for column in _read_axis(group, f"block{block}_items")]
            values[:, places] = read_array(group, f"block{block}_values")
            block += 1
    return Frame(columns, names, values)


def _read_older_layout(group: Any) -> Frame:
    table = read_array(group, "table")
    names = [(text.decode(),) for text in table["index"].tolist()]
    return Frame(None, names, np.asarray(table["values_block_0"], dtype=np.float64))


def _read_axis(group: Any, axis: str) -> list[tuple[str, ...]]:
    """The names of rows or columns; of several levels, each has its distinct texts and their positions."""
    if has_member(group, axis):
        return [(text,) for text in _read_names(group, axis)]
    levels = []
    for level in range(MAX_LEVELS):
        if not has_member(group, f"{axis}_level{level}"):
            break
        texts = _read_names(group, f"{axis}_level{level}")
        labels = read_array(group, f"{axis}_label{level}").tolist()
        # -1 stands for no text.
        levels.append([texts[label] if label >= 0 else "" for label in labels])
    return list(zip(*levels, strict=True))


def _read_names(group: Any, name: str) -> list[str]:
    array = read_array(group, name)
    if array.dtype.kind != "S":
        raise DataError(f"{group.file.filename} has names that are no plain texts; save it as CSV in DeepLabCut")
    return [text.decode() for text in array.tolist()]


def write_frame(
    path: Path,
    columns: Sequence[tuple[str, ...]],
    levels: Sequence[str],
    names: Sequence[tuple[str, ...]],
    values: NDArray[np.float64],
    tool: str,
) -> None:
    """Replace a file with a table that pandas reads back as it is.

    Args:
        path: the file.
        columns: (C,) names of columns.
        levels: what the parts of a column's name are.
        names: (N,) names of rows, whose parts have no names.
        values: (N, C).
        tool: that wants it, for messages.

    Raises:
        ConfigError: h5py is not installed.
    """
    h5py = import_for_writing(tool)

    def write(part: Path) -> None:
        with h5py.File(part, "w") as file:
            _set_texts(file, CLASS="GROUP", PYTABLES_FORMAT_VERSION="2.1", TITLE="", VERSION="1.0")
            group = file.create_group(KEY)
            _set_texts(group, CLASS="GROUP", TITLE="", VERSION="1.0", encoding="UTF-8", errors="strict")
            _set_texts(group, pandas_type="frame")
            group.attrs["ndim"] = np.int64(2)
            group.attrs["nblocks"] = np.int64(1)
            unnamed = [None] * len(names[0])
            _write_axis(group, "axis0", columns, levels)
            _write_axis(group, "axis1", names, unnamed)
            _write_axis(group, "block0_items", columns, levels)
            _write_array(group, "block0_values", values)

    replace_file(path, write)


def _write_axis(group: Any, axis: str, names: Sequence[tuple[str, ...]], levels: Sequence[str | None]) -> None:
    _set_texts(group, **{f"{axis}_variety": "multi"})
    group.attrs[f"{axis}_nlevels"] = np.int64(len(levels))
    for level, (texts, title) in enumerate(zip(zip(*names, strict=True), levels, strict=True)):
        distinct = sorted(set(texts))
        encoded = np.array([text.encode() for text in distinct])
        member = _write_array(group, f"{axis}_level{level}", encoded)
        _set_texts(member, kind="string", nan_rep="")
        for attribute in ("name", f"{axis}_name{title}"):
            if title is None:
                member.attrs[attribute] = NO_NAME
            else:
                _set_texts(member, **{attribute: title})
        labels = [distinct.index(text) for text in texts]
        _write_array(group, f"{axis}_label{level}", np.array(labels, dtype=np.int32))


def _write_array(group: Any, name: str, values: NDArray[Any]) -> Any:
    member = group.create_dataset(name, data=values)
    _set_texts(member, CLASS="ARRAY", FLAVOR="numpy", TITLE="", VERSION="2.4")
    member.attrs["transposed"] = np.uint8(1)
    return member


def _set_texts(member: Any, **texts: str) -> None:
    """Set attributes as PyTables does: UTF-8 of a fixed length, and of nothing no bytes at all."""
    h5py = import_for_writing("deeplabcut")
    for name, text in texts.items():
        encoded = text.encode()
        if encoded:
            member.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", len(encoded)))
        else:
            member.attrs[name] = h5py.Empty("S1")
