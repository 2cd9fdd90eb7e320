"""Ids as data: strings in one Arrow array, where each takes what it spells and eight bytes.

A Python string takes some fifty bytes more, and every worker process copies those that it looks at.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llpp.errors import DataError

Rows = NDArray[np.int64]
TEXT = pa.large_string()  # string would end at 2 GiB
CHUNK_SIZE = 2**16  # strings that exist as Python objects while all are gone through


class Ids(Sequence[str]):
    """N strings that cannot be changed; a slice of them is Ids again, and shares their memory.

    Equal to a tuple or list of the same strings. Reading one by its place takes microseconds: where all are wanted,
    use what works on whole arrays.
    """

    __slots__ = ("array",)

    def __init__(self, strings: Iterable[str] | pa.Array | pa.ChunkedArray) -> None:
        """Raises DataError on anything but text."""
        self.array: pa.Array = strings.array if isinstance(strings, Ids) else _to_arrow(strings)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK_SIZE):
            yield from self.array.slice(start, CHUNK_SIZE).to_pylist()

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> "Ids": ...

    def __getitem__(self, place: int | slice) -> "str | Ids":
        if isinstance(place, slice):
            return Ids(self.array[place])
        found: str = self.array[place].as_py()
        return found

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and pc.index(self.array, pa.scalar(value, TEXT)).as_py() >= 0

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return bool(self.array.equals(other.array))
        if isinstance(other, tuple | list):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as lists have none

    def __repr__(self) -> str:
        return f"Ids({list(self)})" if len(self) <= 10 else f"Ids({list(self[:10])} and {len(self) - 10:,} more)"

    def take(self, rows: Rows) -> "Ids":
        """Those at some places, in the order of `rows` (n,)."""
        return Ids(self.array.take(pa.array(rows)))

    def find_rows(self, ids: Iterable[str]) -> Rows:
        """(n,) the place of each of n ids, -1 for a stranger; of equal strings the first one's.

        Goes once through all N and looks each up among the n, so few ids cost little memory.
        """
        wanted = Ids(ids).array.dictionary_encode()
        places = np.full(len(wanted.dictionary), -1, dtype=np.int64)
        if len(places):
            found = pc.index_in(self.array, value_set=wanted.dictionary)
            rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
            places[found.drop_null().to_numpy()[::-1]] = rows[::-1]
        result: Rows = places[wanted.indices.to_numpy()]
        return result

    def is_in(self, ids: "Ids") -> NDArray[np.bool_]:
        """(N,) whether each is one of some ids; few of them cost little."""
        found: NDArray[np.bool_] = pc.is_in(self.array, value_set=ids.array).to_numpy(zero_copy_only=False)
        return found

    def assign_codes(self) -> NDArray[np.int32]:
        """(N,) equal numbers for equal strings: 0, 1, 2 … in order of first appearance."""
        codes: NDArray[np.int32] = self.array.dictionary_encode().indices.to_numpy()
        return codes

    def find_duplicate(self) -> str | None:
        """The first string that occurs more than once."""
        if len(self.array.unique()) == len(self):  # half the time of codes
            return None
        codes = self.assign_codes()
        code = int(np.argmax(np.bincount(codes) > 1))
        return self[int(np.argmax(codes == code))]


def _to_arrow(strings: Any) -> pa.Array:
    if isinstance(strings, pa.Array | pa.ChunkedArray):
        whole = strings.combine_chunks() if isinstance(strings, pa.ChunkedArray) else strings
        if whole.null_count or not (pa.types.is_string(whole.type) or pa.types.is_large_string(whole.type)):
            raise DataError(
                f"ids must be text; got an Arrow array of {whole.type} with {whole.null_count} nulls, "
                "expected strings without"
            )
        return whole.cast(TEXT)
    values = strings if isinstance(strings, list | tuple) else list(strings)
    try:
        array = pa.array(values, TEXT)
    except (TypeError, ValueError):
        array = None
    if array is None or array.null_count:
        wrong = next(value for value in values if not _is_text(value))
        raise DataError(f"ids must be text; got {wrong!r}, expected a string of Unicode characters")
    return array


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False
