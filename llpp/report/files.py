"""Reading a round's score tables, and writing the report's own files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llpp.errors import StateError
from llpp.files import compute_sha256, replace_file

MAX_BYTES, MAX_ROWS, MAX_VALUES = 1 << 30, 10_000_000, 1 << 28  # of a score table


def read_columns(path: Path, names: Sequence[str], digest: str | None = None) -> dict[str, Any] | None:
    """Columns of a Parquet file as arrays, (N,) or (N, C); None if it cannot be read or lacks one of them.

    `digest` is its SHA-256, where that is known; None for a file with another one. The file may be somebody else's:
    it holds what `write_scores` writes, in such an amount, or is not read.
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
        if any(column.null_count for column in table.columns):
            return None
        return {name: _to_array(table.column(name)) for name in names}
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def _is_score_table(file: Any, names: Sequence[str]) -> bool:
    """Whether columns are as `write_scores` makes them, and not many times larger than the file."""
    found, schema = file.metadata, file.schema_arrow
    if found.num_rows > MAX_ROWS or any(schema.get_field_index(name) < 0 for name in names):
        return False
    groups = [found.row_group(n) for n in range(found.num_row_groups)]
    chunks = [group.column(n) for group in groups for n in range(group.num_columns)]
    # the other codecs make gigabytes of kilobytes
    plain = all(chunk.compression in ("SNAPPY", "UNCOMPRESSED") for chunk in chunks)
    small = sum(max(chunk.num_values, 0) for chunk in chunks) <= MAX_VALUES
    return plain and small and all(_has_expected_type(schema.field(name)) for name in names)


def _has_expected_type(field: Any) -> bool:
    if field.name == "id":
        return bool(pa.types.is_large_string(field.type) or pa.types.is_string(field.type))
    inner = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
    return bool(pa.types.is_floating(inner))


def _to_array(column: Any) -> Any:
    if pa.types.is_fixed_size_list(column.type):
        values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), column.type.list_size)
    return np.asarray(column.to_numpy())


def write_bytes(path: Path, content: bytes, what: str = "the report") -> None:
    """Replace a file; StateError, saying `what` it belongs to, if the place cannot be written to."""
    try:
        replace_file(path, lambda part: _write_content(part, content))
    except OSError as error:
        raise StateError(
            f"cannot write {what} to {path.parent}: {error.strerror or error}; give another --output"
        ) from error


def _write_content(path: Path, content: bytes) -> None:
    path.write_bytes(content)
