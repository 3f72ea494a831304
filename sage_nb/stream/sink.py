"""Sinks: where records leave, and what each kind promises of them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import IO, Any, Generic, Literal, TypeVar

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.stream.function import Context, Function
from sage_nb.stream.storage import Folder

In = TypeVar("In")
Delivery = Literal["exactly once", "at least once"]


class SinkFunction(Function, Generic[In]):
    """Takes records. After a failure it sees again what came since the last checkpoint: at least once."""

    delivery: Delivery = "at least once"

    def write(self, value: In, /) -> None:
        """Take one."""
        raise NotImplementedError

    def write_batch(self, values: Sequence[In], /) -> None:
        """Take several, in their order."""
        for value in values:
            self.write(value)

    def flush(self) -> None:
        """A checkpoint is about to count on everything written so far: what is held back must be safe now."""


class IdempotentSink(SinkFunction[In]):
    """Writing a record again changes nothing (it is put under a key of its own), so each counts once."""

    delivery: Delivery = "exactly once"


class TwoPhaseSink(SinkFunction[In]):
    """Keeps records aside until the checkpoint they belong to is committed: exactly once, from end to end.

    `prepare` puts what was written since the last one where no failure loses it and returns a handle (plain data, or
    None for nothing); `commit` makes a handle's records visible, and doing so twice is doing so once; `discard` throws
    away what no kept handle names.
    """

    delivery: Delivery = "exactly once"

    def prepare(self) -> Any:
        """First phase: safe, not visible."""
        raise NotImplementedError

    def commit(self, handle: Any, /) -> None:
        """Second phase: visible."""
        raise NotImplementedError

    def discard(self) -> None:
        """After a failure: what was kept aside and will not be committed."""


class CollectSink(TwoPhaseSink[In]):
    """Appends to a list of yours, for notebooks and tests.

    >>> rows: list[int] = []
    >>> sink = CollectSink(rows)
    >>> sink.write_batch([1, 2])
    >>> sink.commit(sink.prepare())
    >>> rows
    [1, 2]
    """

    def __init__(self, target: list[In]) -> None:
        if not isinstance(target, list):
            raise BadValueError(f"CollectSink appends to a list, got a {type(target).__name__}; pass a list of yours")
        self._target = target
        self._committed: set[str] = set()
        self._lock = threading.Lock()
        self._waiting: list[In] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> CollectSink[In]:
        """Every subtask's copy fills the same list."""
        copy = CollectSink(self._target)
        copy._committed, copy._lock = self._committed, self._lock
        return copy

    def open(self, context: Context, /) -> None:  # noqa: ARG002
        """Nothing waits yet."""
        self._waiting = []

    def write_batch(self, values: Sequence[In], /) -> None:
        """Kept aside."""
        self._waiting.extend(values)

    def prepare(self) -> Any:
        """What waits, under a name of its own."""
        waiting, self._waiting = self._waiting, []
        return [uuid.uuid4().hex, waiting] if waiting else None

    def commit(self, handle: Any, /) -> None:
        """Into the list, once."""
        name, values = handle
        with self._lock:
            if name not in self._committed:
                self._committed.add(name)
                self._target.extend(values)

    def discard(self) -> None:
        """What waits came after the last checkpoint."""
        self._waiting = []


class _FileSink(TwoPhaseSink[In]):
    """One file per subtask and checkpoint: pending until it is committed, then renamed."""

    suffix = ""

    def __init__(self, folder: str) -> None:
        self.folder = Folder(folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.folder.url!r})"

    def open(self, context: Context, /) -> None:
        """Names of this subtask's files begin with the operator's and its number."""
        self._name, self._subtask, self._parallelism = context.name, context.subtask, context.parallelism
        self._pending: str | None = None

    def commit(self, handle: Any, /) -> None:
        """Rename; a file that is there already was renamed before the failure."""
        if self.folder.exists(f"{handle}.pending"):
            self.folder.rename(f"{handle}.pending", handle)
        elif not self.folder.exists(handle):
            raise BadValueError(
                f"{handle!r}, which a checkpoint counts on, is gone from {self.folder.url!r}; restore the file or "
                f"start over with fresh=True"
            )

    def discard(self) -> None:
        """Pending files of this subtask; the first one also minds those of subtasks that are no more."""
        self._drop()
        for name in self.folder.names():
            operator, _, rest = name.removesuffix(".pending").rpartition("-")[0].rpartition("-")
            mine = operator == self._name and rest.isdigit() and name.endswith(".pending")
            if mine and (int(rest) == self._subtask or (self._subtask == 0 and int(rest) >= self._parallelism)):
                self.folder.remove(name)

    def close(self) -> None:
        """What was not prepared is lost with the attempt, and written again by the next."""
        self._drop()

    def _file_name(self) -> str:
        return f"{self._name}-{self._subtask}-{uuid.uuid4().hex}{self.suffix}"

    def _drop(self) -> None:
        self._pending = None


class JsonlSink(_FileSink[In]):
    """A folder of JSON lines; a file appears when its checkpoint is committed, with every record once."""

    suffix = ".jsonl"
    _file: IO[bytes] | None = None

    def write_batch(self, values: Sequence[In], /) -> None:
        """Into the pending file."""
        lines = b"".join(json_line(value) for value in values)
        if self._file is None:
            self._pending = self._file_name()
            self._file = self.folder.create(f"{self._pending}.pending")
        self._file.write(lines)

    def prepare(self) -> Any:
        """The pending file, closed and on the disk."""
        if self._file is None:
            return None
        self.folder.finish(self._file)
        done, self._file, self._pending = self._pending, None, None
        return done

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self.folder.remove(f"{self._pending}.pending")
        self._file, self._pending = None, None


class ParquetSink(_FileSink[In]):
    """A folder of Parquet files; records are mappings of one shape."""

    suffix = ".parquet"

    def open(self, context: Context, /) -> None:
        """No rows yet."""
        super().open(context)
        self._rows: list[In] = []

    def write_batch(self, values: Sequence[In], /) -> None:
        """Rows of the next file."""
        self._rows.extend(values)

    def prepare(self) -> Any:
        """The rows as one pending file."""
        if not self._rows:
            return None
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows, self._rows = self._rows, []
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([msgspec.to_builtins(row) for row in rows]), buffer)
        name = self._file_name()
        self.folder.put(f"{name}.pending", buffer.getvalue().to_pybytes())
        return name

    def _drop(self) -> None:
        super()._drop()
        self._rows = []


class CallSink(SinkFunction[In]):
    """Calls a function with each record."""

    def __init__(self, function: Callable[[In], object]) -> None:
        self._function = function

    def write(self, value: In, /) -> None:
        """Call it."""
        self._function(value)


def json_line(value: object) -> bytes:
    """`value` as a line of JSON.

    Raises BadValueError where JSON has no word for it.
    """
    try:
        return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise BadValueError(
            f"JSON has no word for {value!r:.60}: {error}; map it to plain data before the sink"
        ) from error
