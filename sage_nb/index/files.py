"""Bytes on disk that are there whole or not at all, and arrays that are read without being loaded."""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sage_nb.errors import CollectionError

if TYPE_CHECKING:
    import pyarrow as pa


WHOLE, EDGE = 1 << 26, 1 << 20  # up to 64 MiB a file is summed whole, of a larger one the first and last MiB
BLOCK = 1 << 18  # bytes that are summed at a time: read as one, a file took 1.6 times as long, and memory stayed taken
_HEAD_BYTES = 1 << 10  # more than a header of `write_array` takes: 128 for up to five dimensions
_HEAD = re.compile(
    rb"\x93NUMPY\x01\0..{'descr': '(?P<dtype>[<>|][biuf]\d+)', 'fortran_order': False, "  # bytes of objects are none
    rb"'shape': \((?P<shape>[\d, ]*)\), } *\n",
    re.DOTALL,
)


def checksum(path: Path) -> int:
    """crc32 of a file; of a very large one, which is mapped and never read through, its first and last MiB."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as content:
        if size <= WHOLE:
            return _summed(content, size, 0)
        head = _summed(content, EDGE, 0)
        content.seek(size - EDGE)
        return _summed(content, EDGE, head)


def _summed(content: FileIO, size: int, before: int) -> int:
    """crc32 of what comes next, as far as there is so much, after that of what came before."""
    block = memoryview(bytearray(min(BLOCK, size)))
    while size and (count := content.readinto(block[:size])):
        before, size = zlib.crc32(block[:count], before), size - count
    return before


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Columns as an Arrow IPC file."""
    import pyarrow as pa

    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=None)


def read_table(path: Path) -> pa.Table:
    """An Arrow IPC file, memory-mapped: rows cost memory only when looked at."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate()
    except (FileNotFoundError, PermissionError):
        raise
    except (pa.ArrowException, OSError) as damage:  # a flipped bit in a length shows as an OSError
        raise CollectionError(damaged(path, str(damage))) from damage
    return table


def in_one(column: Any) -> Any:
    """A column's only chunk, where it lies; or all of its chunks, copied into one.

    >>> import pyarrow as pa
    >>> in_one(pa.chunked_array([["a"], ["b"]])).to_pylist()
    ['a', 'b']
    """
    if not hasattr(column, "num_chunks"):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which copies one, too


def write_array(path: Path, values: np.ndarray[Any, Any]) -> None:
    """An array as .npy. By hand, because `np.save` says nothing when a full disk takes only a part of it."""
    values = np.ascontiguousarray(values)
    with path.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(values))
        out.write(values.data)


def read_array(path: Path) -> np.ndarray[Any, Any]:
    """What `write_array` wrote, memory-mapped; as a plain array, a cut of which costs a tenth of one of a `np.memmap`.

    `np.load` parses the header as Python, which CPython before 3.11.8 fails at now and then when two threads do so at
    once (https://github.com/python/cpython/issues/106905).
    """
    with path.open("rb") as source:
        head = _HEAD.match(source.read(_HEAD_BYTES))
    if head is None:
        raise CollectionError(damaged(path, "its header is not that of an array"))
    shape = tuple(int(length) for length in head["shape"].split(b",") if length.strip())
    try:
        return np.asarray(np.memmap(path, head["dtype"].decode(), "r", head.end(), shape))
    except (ValueError, TypeError) as damage:
        raise CollectionError(damaged(path, str(damage))) from damage


def damaged(path: Path, why: str) -> str:
    """The sentence for a file that cannot be read."""
    reason = " ".join(why.split())
    return f"{path} is damaged ({reason}); restore the collection from a copy, or delete its folder and add again"


class Texts(Sequence[str]):
    """An Arrow column of texts, read where it lies, in 0.6 of the time that Arrow's own `column[row].as_py()` takes.

    >>> import pyarrow as pa
    >>> words = Texts(pa.chunked_array([["ant", "", "bee"]]).slice(1))
    >>> list(words), words.raw(1)
    (['', 'bee'], b'bee')
    """

    def __init__(self, column: Any) -> None:
        import pyarrow as pa

        wide = pa.types.is_large_binary(column.type) or pa.types.is_large_string(column.type)
        whole = in_one(column if wide else column.cast(pa.large_string()))
        _, ends, content = (memoryview(buffer or b"") for buffer in whole.buffers())
        self._ends = ends.cast("q")[whole.offset : whole.offset + len(whole) + 1]
        self._content = content

    def __len__(self) -> int:
        return max(0, len(self._ends) - 1)

    def __getitem__(self, row: Any) -> Any:
        return self.raw(row).decode()

    def raw(self, row: int) -> bytes:
        """The bytes of a row."""
        return bytes(self._content[self._ends[row] : self._ends[row + 1]])


class SortedStrings:
    """A sorted Arrow column of strings, searched where it lies: no dictionary is built in memory.

    >>> import pyarrow as pa
    >>> words = SortedStrings(pa.array(["ant", "bee"]))
    >>> words.find("bee"), words.find("cow")
    (1, -1)
    """

    def __init__(self, column: Any) -> None:
        self._texts = Texts(column)

    def find(self, text: str) -> int:
        """The row of `text`, or -1."""
        wanted = text.encode("utf8", "surrogatepass")  # bytes of UTF-8 are in the order of their characters
        row = bisect_left(range(len(self._texts)), wanted, key=self._texts.raw)
        return row if row < len(self._texts) and self._texts.raw(row) == wanted else -1
