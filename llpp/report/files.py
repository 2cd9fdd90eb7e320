"""Reading the score tables of a round, and writing the files of a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llpp.errors import StateError
from llpp.files import compute_sha256, replace_file

# Limits of a score table.
MAX_BYTES = 1 << 30
MAX_ROWS = 10_000_000
MAX_VALUES = 1 << 28
TEXT_COLUMNS = ("id", "group")
SAFE_CODECS = ("SNAPPY", "UNCOMPRESSED")  # with the others, a file of kilobytes can expand to gigabytes


def read_columns(path: Path, names: Sequence[str], digest: str | None = None) -> dict[str, Any] | None:
    """Read columns of a Parquet file as arrays, (N,) or (N, C).

    Run directories may come from other people, so a file is read only if its columns have the types that
    `write_scores` writes, and no more values than the limits above.

    Args:
        path: the file.
        names: columns to read.
        digest: expected SHA-256 of the file; None where it is unknown.

    Returns:
        The columns by name; None if the file cannot be read, lacks a column or has another digest.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        if digest is not None and compute_sha256(path) != digest:
            return None
        with pq.ParquetFile(path) as file:
            if not _is_score_table(file, names):
                return None
            table = file.read(columns=list(names))
        columns = {}
        for name in names:
            column = table.column(name)
            if column.null_count:
                return None
            columns[name] = _convert_to_array(column)
        return columns
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def _is_score_table(file: Any, names: Sequence[str]) -> bool:
    """Return whether the columns are as `write_scores` writes them, and not many times larger than the file."""
    metadata = file.metadata
    schema = file.schema_arrow
    if metadata.num_rows > MAX_ROWS:
        return False
    for name in names:
        if schema.get_field_index(name) < 0 or not _has_expected_type(schema.field(name)):
            return False
    # A list column can hold more values than the table has rows, so values are counted as well.
    values = 0
    for group_index in range(metadata.num_row_groups):
        group = metadata.row_group(group_index)
        for column_index in range(group.num_columns):
            chunk = group.column(column_index)
            if chunk.compression not in SAFE_CODECS:
                return False
            values += max(chunk.num_values, 0)
    return values <= MAX_VALUES


def _has_expected_type(field: Any) -> bool:
    """Return whether a column holds text, if it is to, or else floats or lists of them, all of one length."""
    kind = field.type
    if field.name in TEXT_COLUMNS:
        return bool(pa.types.is_large_string(kind) or pa.types.is_string(kind))
    if pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_floating(kind))


def _convert_to_array(column: Any) -> Any:
    """Return a column as (N,), or as (N, C) where it holds lists."""
    if pa.types.is_fixed_size_list(column.type):
        values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), column.type.list_size)
    return np.asarray(column.to_numpy())


def write_bytes(path: Path, content: bytes, what: str = "the report") -> None:
    """Replace a file by `content`.

    Raises:
        StateError: the folder cannot be written to; the message calls the content `what`.
    """
    try:
        replace_file(path, lambda part: _write_content(part, content))
    except OSError as error:
        reason = error.strerror or error
        raise StateError(f"cannot write {what} to {path.parent}: {reason}; give another --output") from error


def _write_content(path: Path, content: bytes) -> None:
    path.write_bytes(content)
