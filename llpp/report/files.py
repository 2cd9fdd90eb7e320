"""Reading a round's score tables, and writing the report's own files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llpp.errors import StateError
from llpp.files import replace_with


def read_columns(path: Path, names: Sequence[str]) -> dict[str, Any] | None:
    """Columns of a Parquet file as arrays, (N,) or (N, C); None if it cannot be read or lacks one of them."""
    try:
        table = pq.read_table(path, columns=list(names))
    except (OSError, pa.ArrowException, KeyError):
        return None
    if set(names) - set(table.column_names):
        return None
    return {name: _array(table.column(name)) for name in names}


def _array(column: Any) -> Any:
    if pa.types.is_fixed_size_list(column.type):
        values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), column.type.list_size)
    return np.asarray(column.to_numpy())


def write_bytes(path: Path, content: bytes, what: str = "the report") -> None:
    """Replace a file; StateError, saying `what` it belongs to, if the place cannot be written to."""
    try:
        replace_with(path, lambda part: _fill(part, content))
    except OSError as error:
        raise StateError(
            f"cannot write {what} to {path.parent}: {error.strerror or error}; give another --output"
        ) from error


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
