"""Sinks: where records leave, and what each kind promises of them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import IO, Any, Generic, Literal, TypeVar

from sage_nb.errors import BadValueError
from sage_nb.stream.encode import fitting, json_line, parquet_table
from sage_nb.stream.function import Context, Function
from sage_nb.stream.storage import Folder, safe_name

In = TypeVar("In")
Delivery = Literal["exactly once", "at least once"]


class SinkFunction(Function, Generic[In]):
    """Takes records. After a failure it sees again what came since the last checkpoint: at least once.

    >>> class Printed(SinkFunction[object]):
    ...     def write(self, value):
    ...         print(value)
    >>> Printed().write_batch(["a", "b"])
    a
    b
    >>> class Gathered(SinkFunction[str]):  # holds records back, so it must say when they are safe
    ...     def __init__(self):
    ...         self.waiting, self.safe = [], []
    ...
    ...     def write(self, value):
    ...         self.waiting.append(value)
    ...
    ...     def flush(self):
    ...         self.safe, self.waiting = self.safe + self.waiting, []
    >>> sink = Gathered()
    >>> sink.write("a")
    >>> sink.flush()
    >>> sink.safe, sink.holds_back, Printed().holds_back
    (['a'], True, False)
    """

    delivery: Delivery = "at least once"
    at_home = False  # whether its records go to objects of the process that made it

    def write(self, value: In, /) -> None:
        """Take one."""
        raise NotImplementedError

    def write_batch(self, values: Sequence[In], /) -> None:
        """Take several, in their order.

        A sink that holds records back (it has a `flush`, or two phases) raises ValueError or TypeError for a record
        that it cannot take, having kept nothing of the call: its operator's policy decides. Any other error fails the
        sink's task, for what it holds may be lost.
        """
        for value in values:
            self.write(value)

    @property
    def holds_back(self) -> bool:
        """Whether what is written may still wait in it."""
        return type(self).flush is not SinkFunction.flush

    def flush(self) -> None:
        """A checkpoint is about to count on everything written so far: what is held back must be safe now."""


class IdempotentSink(SinkFunction[In]):
    """Writing a record again changes nothing (it is put under a key of its own), so each counts once.

    >>> class Table(IdempotentSink[tuple]):
    ...     def __init__(self, rows):
    ...         self.rows = rows
    ...
    ...     def write(self, value):
    ...         self.rows[value[0]] = value
    >>> Table({}).delivery
    'exactly once'
    """

    delivery: Delivery = "exactly once"


class TwoPhaseSink(SinkFunction[In]):
    """Keeps records aside until the checkpoint they belong to is committed: exactly once, from end to end.

    `prepare` puts what was written since the last one where no failure loses it and returns a handle (plain data, or
    None for nothing); `commit` makes a handle's records visible, and doing so twice is doing so once; `discard` comes
    when the job goes back to a checkpoint: what was written and not committed by then is thrown away.

    >>> issubclass(CollectSink, TwoPhaseSink)
    True
    >>> class Shelf(TwoPhaseSink[str]):
    ...     def __init__(self):
    ...         self.waiting, self.kept, self.shown = [], {}, []
    ...
    ...     def write(self, value):
    ...         self.waiting.append(value)
    ...
    ...     def prepare(self, checkpoint):
    ...         self.kept[checkpoint], self.waiting = self.waiting, []
    ...         return checkpoint
    ...
    ...     def commit(self, handle):
    ...         self.shown += self.kept.pop(handle, [])
    ...
    ...     def discard(self, checkpoint):
    ...         self.waiting = []
    >>> shelf = Shelf()
    >>> shelf.write("a")
    >>> handle = shelf.prepare(1)
    >>> shelf.commit(handle)
    >>> shelf.commit(handle)  # again, after a failure: nothing more
    >>> shelf.write("b")
    >>> shelf.discard(1)  # back to checkpoint 1: "b" will come again
    >>> shelf.shown, shelf.waiting, shelf.holds_back
    (['a'], [], True)
    """

    delivery: Delivery = "exactly once"

    @property
    def holds_back(self) -> bool:
        """Until its second phase."""
        return True

    def prepare(self, checkpoint: int, /) -> Any:
        """First phase: safe, not visible."""
        raise NotImplementedError

    def commit(self, handle: Any, /) -> None:
        """Second phase: visible."""
        raise NotImplementedError

    def discard(self, checkpoint: int, /) -> None:
        """Back to that checkpoint (0: to the beginning): what came later will come again."""


@dataclass
class _Collected:
    """What all copies of a CollectSink share."""

    target: list[Any]
    prepared: dict[str, tuple[int, list[Any]]] = field(default_factory=dict)  # name -> subtask, records
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: bool = False


class CollectSink(TwoPhaseSink[In]):
    """Appends to a list of yours, for notebooks and tests; wherever the job runs, the list is here.

    Records stay in this process, so they may be of any class, and what a checkpoint holds are only their names: a sink
    made anew takes up nothing of an earlier one, and its list holds what came after the checkpoint.

    >>> rows: list[int] = []
    >>> sink = CollectSink(rows)
    >>> sink.write_batch([1, 2])
    >>> sink.commit(sink.prepare(1))
    >>> rows
    [1, 2]
    >>> sink.hold("n1", 0, [3])  # what subtask 0 has prepared, wherever that was
    >>> sink.drop(0)  # and dropped: its subtask goes back to a checkpoint
    >>> sink.commit("n1")
    >>> rows, sink.begun, sink.target is rows
    ([1, 2], True, True)
    """

    at_home = True

    def __init__(self, target: list[In]) -> None:
        if not isinstance(target, list):
            raise BadValueError(f"CollectSink appends to a list, got a {type(target).__name__}; pass a list of yours")
        self._shared = _Collected(target)
        self._subtask = 0
        self._waiting: list[In] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> CollectSink[In]:
        """Every subtask's copy fills the same list; what waits is its own from `open` on."""
        return copy(self)

    @property
    def target(self) -> list[In]:
        """The list."""
        return self._shared.target

    @property
    def begun(self) -> bool:
        """Whether a job has run with it, whose records its list has."""
        return self._shared.begun

    def open(self, context: Context, /) -> None:
        """Nothing waits yet."""
        self._subtask, self._waiting, self._shared.begun = context.subtask, [], True

    def write_batch(self, values: Sequence[In], /) -> None:
        """Kept aside."""
        self._waiting.extend(values)

    def prepare(self, checkpoint: int, /) -> Any:  # noqa: ARG002
        """What waits, under a name of its own."""
        if not self._waiting:
            return None
        name, waiting, self._waiting = uuid.uuid4().hex, self._waiting, []
        self.hold(name, self._subtask, waiting)
        return name

    def hold(self, name: str, subtask: int, values: list[In], /) -> None:
        """What a subtask has prepared, wherever that is."""
        with self._shared.lock:
            self._shared.begun = True
            self._shared.prepared[name] = (subtask, values)

    def commit(self, handle: Any, /) -> None:
        """Into the list, once; what another sink prepared is not here."""
        with self._shared.lock:
            _, values = self._shared.prepared.pop(handle, (0, []))
            self._shared.target.extend(values)

    def discard(self, checkpoint: int, /) -> None:  # noqa: ARG002
        """What waits, or was prepared and not committed, came after the checkpoint."""
        self._waiting = []
        self.drop(self._subtask)

    def drop(self, subtask: int, /) -> None:
        """Forget what a subtask prepared and did not commit."""
        with self._shared.lock:
            mine = [name for name, (whose, _) in self._shared.prepared.items() if whose == subtask]
            for name in mine:
                del self._shared.prepared[name]


class _FileSink(TwoPhaseSink[In]):
    """A file for each subtask and checkpoint, named `operator-job-subtask-checkpoint-…`.

    Until it is committed its name begins with a dot and ends in `.pending`. Where a job goes back to an older
    checkpoint, files it has shown since are renamed to `.….undone`: their records come again.
    """

    suffix = ""

    def __init__(self, folder: str) -> None:
        self.folder = Folder(folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.folder.url!r})"

    def open(self, context: Context, /) -> None:
        """Names of its files tell whose they are: no other sink touches them."""
        self._owner = f"{safe_name(context.uid)}-{context.job}"
        self._subtask, self._parallelism = context.subtask, context.parallelism
        self._pending = ""

    def commit(self, handle: Any, /) -> None:
        """Rename; a file that is there already was renamed before the failure, or undone since by another run."""
        pending, name = handle
        undone = f".{name}.undone"
        if self.folder.exists(pending):
            self.folder.rename(pending, name)
        elif self.folder.exists(undone):
            self.folder.rename(undone, name)
        elif not self.folder.exists(name):
            raise BadValueError(
                f"{name!r}, which a checkpoint counts on, is gone from {self.folder.url!r}; restore the file or "
                f"start over with fresh=True"
            )

    def discard(self, checkpoint: int, /) -> None:
        """Pending files, and files shown after that checkpoint; the first subtask minds those of ones no more there."""
        self._drop()
        for name in self.folder.names():
            subtask, number, end = self._read(name)
            if subtask is None or not self._minds(subtask):
                continue
            if end == "pending":
                self.folder.remove(name)
            elif number > checkpoint:
                self.folder.rename(name, f".{name}.undone")

    def close(self) -> None:
        """What was not prepared is lost with the attempt, and written again by the next."""
        self._drop()

    def _minds(self, subtask: int) -> bool:
        return subtask == self._subtask or (self._subtask == 0 and subtask >= self._parallelism)

    def _begin(self) -> str:
        """The name of a new pending file."""
        self._pending = f".{self._owner}-{self._subtask}-0-{uuid.uuid4().hex[:8]}.pending"
        return self._pending

    def _handle(self, checkpoint: int) -> list[str]:
        """Of the pending file, which is whole: its name, and the one it will have."""
        pending, self._pending = self._pending, ""
        token = pending.removesuffix(".pending")[-8:]
        return [pending, f"{self._owner}-{self._subtask}-{checkpoint:06d}-{token}{self.suffix}"]

    def _read(self, name: str) -> tuple[int | None, int, str]:
        """The subtask and checkpoint in a file's name, and whether it is pending; no subtask in another's name."""
        stem, _, end = name.removeprefix(".").rpartition(".")
        owner, *numbers = stem.rsplit("-", 3)
        mine = owner == self._owner and len(numbers) == 3 and numbers[0].isdigit() and numbers[1].isdigit()
        wanted = "pending" if name.startswith(".") else self.suffix.removeprefix(".")
        return (int(numbers[0]), int(numbers[1]), end) if mine and end == wanted else (None, 0, end)

    def _drop(self) -> None:
        if self._pending:
            self.folder.remove(self._pending)
        self._pending = ""


class JsonlSink(_FileSink[In]):
    """A folder of JSON lines; a file appears when its checkpoint is committed, with every record once.

    >>> JsonlSink("memory://pages")
    JsonlSink('memory://pages')
    """

    suffix = ".jsonl"
    _file: IO[bytes] | None = None

    def write_batch(self, values: Sequence[In], /) -> None:
        """Into the pending file."""
        lines = b"".join(json_line(value) for value in values)
        if self._file is None:
            self._file = self.folder.create(self._begin())
        self._file.write(lines)

    def prepare(self, checkpoint: int, /) -> Any:
        """The pending file, closed and on the disk."""
        if self._file is None:
            return None
        self.folder.finish(self._file)
        self._file = None
        return self._handle(checkpoint)

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what is in it is not wanted
                file.close()
        super()._drop()


class ParquetSink(_FileSink[In]):
    """A folder of Parquet files; records are mappings, their fields the columns.

    >>> ParquetSink("memory://pages").delivery
    'exactly once'
    """

    suffix = ".parquet"

    def open(self, context: Context, /) -> None:
        """No rows yet."""
        super().open(context)
        self._tables: list[Any] = []
        self._schema: Any = None

    def write_batch(self, values: Sequence[In], /) -> None:
        """Rows of the next file, checked to fit in with those before."""
        table = parquet_table(values)
        self._schema = fitting(self._schema, table.schema)
        self._tables.append(table)

    def prepare(self, checkpoint: int, /) -> Any:
        """The rows as one pending file."""
        if not self._tables:
            return None
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables(self._tables, promote_options="permissive"), buffer)
        self._tables, self._schema = [], None
        with self.folder.writing(self._begin()) as file:
            file.write(buffer.getvalue())
        return self._handle(checkpoint)

    def _drop(self) -> None:
        super()._drop()
        self._tables, self._schema = [], None


class CallSink(SinkFunction[In]):
    """Calls a function with each record."""

    def __init__(self, function: Callable[[In], object]) -> None:
        self._function = function

    def write(self, value: In, /) -> None:
        """Call it."""
        self._function(value)
