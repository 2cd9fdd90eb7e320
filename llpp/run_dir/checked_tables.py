"""Tables of value as Parquet files, which notice damage and cannot unpack to gigabytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as a file."""
    pq.write_table(table, path, compression="snappy", use_dictionary=False, write_page_checksum=True)


def read_table(path: Path, schema: pa.Schema) -> pa.Table | None:
    """Read a file that `write_table` wrote; None if it is missing, damaged, or has other columns."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            # Other codecs make gigabytes of kilobytes.
            if not file.schema_arrow.equals(schema) or _list_codecs(file) - {"SNAPPY"}:
                return None
            return file.read()
    except (OSError, pa.ArrowException):
        return None


def _list_codecs(file: pq.ParquetFile) -> set[str]:
    codecs = set()
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for column in range(group.num_columns):
            codecs.add(group.column(column).compression)
    return codecs
