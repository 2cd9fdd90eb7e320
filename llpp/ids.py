"""Ids as data: strings in one Arrow array, where each takes its characters and eight bytes.

A Python string takes some fifty bytes more, and every worker process copies the strings that it reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llpp.errors import DataError

Rows = NDArray[np.int64]
TEXT = pa.large_string()  # pa.string() is limited to 2 GiB
CHUNK_SIZE = 2**16  # strings that exist as Python objects at once during an iteration


class Ids(Sequence[str]):
    """N strings that cannot be changed; a slice is Ids again and shares their memory.

    Equal to a tuple or list of the same strings. Reading one by its position takes microseconds; to process all of
    them, use the methods that work on whole arrays.
    """

    __slots__ = ("array",)

    def __init__(self, strings: Iterable[str] | pa.Array | pa.ChunkedArray) -> None:
        """Raise DataError on anything but text."""
        self.array: pa.Array = strings.array if isinstance(strings, Ids) else _convert_to_arrow(strings)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK_SIZE):
            yield from self.array.slice(start, CHUNK_SIZE).to_pylist()

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Ids": ...

    def __getitem__(self, index: int | slice) -> "str | Ids":
        if isinstance(index, slice):
            return Ids(self.array[index])
        result: str = self.array[index].as_py()
        return result

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        index: int = pc.index(self.array, pa.scalar(value, TEXT)).as_py()
        return index >= 0

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return bool(self.array.equals(other.array))
        if isinstance(other, tuple | list):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    # Not hashable, as a list is not.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if len(self) <= 10:
            return f"Ids({list(self)})"
        return f"Ids({list(self[:10])} and {len(self) - 10:,} more)"

    def take(self, rows: Rows) -> "Ids":
        """Return the strings at `rows` (n,), in that order."""
        return Ids(self.array.take(pa.array(rows)))

    def find_rows(self, ids: Iterable[str]) -> Rows:
        """Return the position of each of n ids (n,), of equal strings the first; -1 for an id that is not here.

        Goes through all N once and looks each up among the n, so few ids take little memory.
        """
        wanted = Ids(ids).array.dictionary_encode()
        first_rows = np.full(len(wanted.dictionary), -1, dtype=np.int64)
        if len(first_rows):
            codes = pc.index_in(self.array, value_set=wanted.dictionary)
            rows = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
            # In reverse order, so that of equal strings the first is written last.
            first_rows[codes.drop_null().to_numpy()[::-1]] = rows[::-1]
        result: Rows = first_rows[wanted.indices.to_numpy()]
        return result

    def is_in(self, ids: "Ids") -> NDArray[np.bool_]:
        """Return the mask (N,) of the strings that are among `ids`; few of them take little memory."""
        mask: NDArray[np.bool_] = pc.is_in(self.array, value_set=ids.array).to_numpy(zero_copy_only=False)
        return mask

    def assign_codes(self) -> NDArray[np.int32]:
        """Return equal numbers for equal strings (N,): 0, 1, 2 … in order of first appearance."""
        codes: NDArray[np.int32] = self.array.dictionary_encode().indices.to_numpy()
        return codes

    def find_duplicate(self) -> str | None:
        """Return the first string that occurs more than once, None if there is none."""
        # Counting the unique strings takes half the time of `assign_codes`.
        if len(self.array.unique()) == len(self):
            return None
        codes = self.assign_codes()
        code = int(np.argmax(np.bincount(codes) > 1))
        return self[int(np.argmax(codes == code))]


def _convert_to_arrow(strings: Any) -> pa.Array:
    """Return strings as one array of `TEXT`; DataError if they are anything else."""
    if isinstance(strings, pa.ChunkedArray):
        return _cast_to_text(strings.combine_chunks())
    if isinstance(strings, pa.Array):
        return _cast_to_text(strings)
    values = strings if isinstance(strings, list | tuple) else list(strings)
    try:
        array = pa.array(values, TEXT)
    except (TypeError, ValueError):
        array = None
    if array is None or array.null_count:
        wrong = next(value for value in values if not _is_text(value))
        raise DataError(f"ids must be text; got {wrong!r}, expected a string of Unicode characters")
    return array


def _cast_to_text(array: pa.Array) -> pa.Array:
    is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if not is_text or array.null_count:
        raise DataError(
            f"ids must be text; got an Arrow array of {array.type} with {array.null_count} nulls, "
            "expected strings without nulls"
        )
    return array.cast(TEXT)


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        # A lone surrogate, as Python makes of bytes that are not UTF-8.
        return False
    return True
